"""Pictures of every kind, held against OpenCV's reader."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tvm_zerocopy.errors import SourceError
from tvm_zerocopy.sources import open_source
from tvm_zerocopy.sources.pictures import read_picture

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def opencv(path):
    return cv2.imread(str(path))[..., ::-1]


def saved(tmp_path, image, suffix, **options):
    path = tmp_path / ("picture" + suffix)
    image.save(path, **options)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_honoured(tmp_path, orientation):
    image = Image.fromarray(RGB)
    exif = image.getexif()
    exif[0x0112] = orientation
    path = saved(tmp_path, image, ".jpg", exif=exif, quality=100, subsampling=0)
    read = read_picture(path)
    assert read.shape == opencv(path).shape
    assert np.abs(read.astype(int) - opencv(path)).max() <= 2, "two JPEG decoders"


@pytest.mark.parametrize(
    "image",
    [
        Image.fromarray(RGB),
        Image.fromarray(RGB[..., 0]),
        Image.fromarray(np.dstack([RGB, RGB[..., :1]])),
        Image.fromarray(np.dstack([RGB[..., 0], RGB[..., 1]])),
        Image.fromarray(RGB).quantize(16),
        Image.fromarray(RGB[..., 0] > 100),
        Image.fromarray((RGB[..., 0].astype(np.uint16) << 8) | 77),
    ],
    ids=["rgb", "gray", "rgba", "gray+alpha", "palette", "1-bit", "16-bit"],
)
def test_png_modes_as_opencv_reads_them(tmp_path, image):
    path = saved(tmp_path, image, ".png")
    np.testing.assert_array_equal(read_picture(path), opencv(path))


def test_cmyk_jpeg_becomes_rgb(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (255, 0, 0, 0)), ".jpg", quality=100)
    read = read_picture(path)
    assert read.shape == (8, 8, 3) and read[..., 0].max() < 20 and read[..., 1:].min() > 235, "cyan"


def test_the_first_frame_of_an_animation(tmp_path):
    images = [Image.new("RGB", (6, 4), color) for color in ("red", "blue")]
    path = saved(tmp_path, images[0], ".gif", save_all=True, append_images=images[1:])
    assert read_picture(path)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n" + b"\0" * 20, b"not a picture", b"\xff\xd8\xff\xe0"])
def test_broken_pictures_are_named(tmp_path, content):
    path = tmp_path / "broken.png"
    path.write_bytes(content)
    with pytest.raises(SourceError, match="broken.png"):
        list(open_source(str(path)))


def test_a_picture_cut_short_is_an_error_not_half_a_picture(tmp_path):
    whole = saved(tmp_path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (200, 200, 3), np.uint8)), ".jpg")
    whole.write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(SourceError, match="truncated"):
        read_picture(whole)


def test_floating_point_pictures_are_refused(tmp_path):
    path = saved(tmp_path, Image.new("F", (4, 4), 0.5), ".tif")
    with pytest.raises(SourceError, match="no agreed range"):
        read_picture(path)


def test_a_folder_in_the_order_of_its_numbers_and_without_other_files(tmp_path):
    for name in ("a10.png", "a2.png", "A1.jpg", "b.txt"):
        if name.endswith(".txt"):
            (tmp_path / name).write_text("x")
        else:
            Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / "folder.png").mkdir()
    with open_source(str(tmp_path)) as source:
        frames = list(source)
    assert [frame.name.rsplit("/", 1)[1] for frame in frames] == ["A1.jpg", "a2.png", "a10.png"]
    assert source.still and source.count == 3
    assert (frames[1].spec.format, frames[1].spec.height, frames[1].spec.width) == ("rgb8", 20, 30)


def test_a_broken_picture_does_not_hide_the_rest_of_its_folder(tmp_path):
    for name in ("1.png", "3.png"):
        Image.fromarray(RGB).save(tmp_path / name)
    (tmp_path / "2.png").write_bytes(b"broken")
    frames = iter(open_source(str(tmp_path)))
    next(frames)
    with pytest.raises(SourceError, match="2.png"):
        next(frames)
    assert next(frames).name.endswith("3.png")


def test_nothing_there(tmp_path):
    with pytest.raises(SourceError, match="no pictures"):
        open_source(str(tmp_path))
    with pytest.raises(SourceError, match="no such file"):
        open_source(str(tmp_path / "absent.jpg"))
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(SourceError, match="is empty"):
        open_source(str(tmp_path / "empty.jpg"))
