"""Annotated output on disk."""

from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from tvm_zerocopy.errors import SourceError
from tvm_zerocopy.sources.writer import Writer

PIXELS = np.full((20, 30, 3), 200, np.uint8)


def test_pictures_into_a_folder_never_over_each_other(tmp_path):
    writer = Writer(str(tmp_path / "new" / "folder"))
    for source in ("a/x.png", "b/x.png", "c/x.heic"):
        writer.picture(source, PIXELS)
    assert [path.name for path in writer.written] == ["x.png", "x-2.png", "x.jpg"]
    for path in writer.written:
        np.testing.assert_allclose(np.asarray(Image.open(path)), PIXELS, atol=3)


def test_one_picture_into_one_file(tmp_path):
    writer = Writer(str(tmp_path / "out.webp"))
    writer.picture("a.jpg", PIXELS)
    assert Image.open(tmp_path / "out.webp").size == (30, 20)
    with pytest.raises(SourceError, match="is one picture; give a folder to save one more output"):
        writer.picture("b.jpg", PIXELS)


@pytest.mark.parametrize("size", [(20, 30), (21, 33), (1, 1)])
def test_a_video_of_any_size_has_every_frame_and_its_rate(tmp_path, size):
    writer = Writer(str(tmp_path / "out.mp4"))
    for index in range(7):
        writer.frame("in.mkv", np.full((*size, 3), index * 30, np.uint8), Fraction(30000, 1001))
    writer.end_video()
    with av.open(str(tmp_path / "out.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == Fraction(30000, 1001)
    assert len(frames) == 7
    assert abs(int(frames[6].mean()) - 180) < 12
    assert frames[0].shape[:2] == (size[0] + size[0] % 2, size[1] + size[1] % 2)


def test_the_source_is_never_overwritten(tmp_path):
    source = tmp_path / "a.png"
    Image.fromarray(PIXELS).save(source)
    before = source.read_bytes()
    with pytest.raises(SourceError, match="would overwrite the source"):
        Writer(str(tmp_path)).picture(str(source), PIXELS)
    assert source.read_bytes() == before


def test_a_video_does_not_go_into_a_picture(tmp_path):
    with pytest.raises(SourceError, match="is one picture; give a folder to save a video"):
        Writer(str(tmp_path / "out.png")).frame("in.mp4", PIXELS, None)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SourceError, match="give a folder that can be written"):
        Writer(str(tmp_path / "file" / "below"))
