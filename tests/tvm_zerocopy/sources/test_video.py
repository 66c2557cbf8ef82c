"""Videos: the decoder's own planes arrive, and whatever is broken is said after the frames before it."""

import itertools

import av
import numpy as np
import pytest

from tvm_zerocopy.errors import SourceError
from tvm_zerocopy.reference import image
from tvm_zerocopy.sources import open_source
from tvm_zerocopy.sources.ahead import ReadAhead
from tvm_zerocopy.sources.convert import to_rgb


def ffmpeg_rgb(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize(
    "name, codec, pixels, size, form, planes",
    [
        ("a.mp4", "mpeg4", "yuv420p", (64, 48), "i420", 3),
        ("a.avi", "mjpeg", "yuvj420p", (64, 48), "i420", 3),
        ("a.avi", "rawvideo", "yuyv422", (64, 48), "yuyv", 1),
        ("a.avi", "rawvideo", "uyvy422", (64, 48), "uyvy", 1),
        ("a.nut", "rawvideo", "nv12", (64, 48), "nv12", 2),
        ("a.nut", "rawvideo", "gray", (31, 17), "gray8", 1),
        ("a.nut", "rawvideo", "bgr24", (31, 17), "bgr8", 1),
        ("a.mkv", "ffv1", "yuv444p", (64, 48), "rgb8", 1),
        ("a.mkv", "ffv1", "yuv420p", (63, 47), "rgb8", 1),
        ("a.mkv", "ffv1", "yuv420p10le", (64, 48), "rgb8", 1),
    ],
)
def test_frames_arrive_in_the_decoders_format(video, name, codec, pixels, size, form, planes):
    path = video(name, codec, pixels, size)
    expected = ffmpeg_rgb(path)
    with open_source(str(path)) as source:
        assert not source.still and source.rate == 10
        for index, frame in enumerate(source):
            assert (frame.spec.format, len(frame.planes)) == (form, planes)
            assert (frame.spec.width, frame.spec.height) == size
            assert frame.name.endswith(f"frame {index}")
            for plane, shape in zip(frame.planes, frame.spec.shapes(size[1], size[0])):
                assert plane.shape == shape and plane.dtype == np.uint8
            # Our arithmetic on the planes we were handed; FFmpeg interpolates chroma between pixels, we repeat it.
            ours = image.to_rgb(frame.planes, frame.spec)
            assert np.abs(ours.astype(int) - expected[index]).max() <= 12
            np.testing.assert_array_equal(to_rgb(frame), expected[index])
    assert index == 11


def test_planes_are_the_decoders_memory_not_copies(video):
    path = video(size=(60, 48))
    frame = next(iter(open_source(str(path))))
    for plane in frame.planes:
        assert not plane.flags.owndata and plane.strides[0] >= plane.shape[1]
    assert frame.planes[0].strides[0] > 60, "FFmpeg pads rows; a copy would not have the padding"


def test_full_range_and_matrix_come_from_the_stream(tmp_path, video):
    assert next(iter(open_source(str(video("a.avi", "mjpeg", "yuvj420p"))))).spec.range == "full"
    assert next(iter(open_source(str(video("b.mp4"))))).spec.range == "limited"
    path = tmp_path / "hd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 1
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        container.mux(stream.encode())
    assert next(iter(open_source(str(path)))).spec.matrix == "bt709"


def frames_and_error(path):
    frames, error = 0, None
    try:
        for _ in open_source(str(path)):
            frames += 1
    except SourceError as caught:
        error = str(caught)
    return frames, error


def noise_pictures(path, codec, options=None):
    """Every packet of these is large, so that a cut falls inside one."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height = 64, 48
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for index in range(30):
            noise = np.random.default_rng(index).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(
                stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=stream.pix_fmt))
            )
        container.mux(stream.encode())
    return path


@pytest.mark.parametrize(
    "name, codec, options",
    [("a.avi", "mjpeg", None), ("a.mkv", "mpeg4", None), ("a.mp4", "mpeg4", {"movflags": "faststart"})],
)
@pytest.mark.parametrize("tail", ["nothing", "garbage"])
def test_a_broken_end_is_reported_and_the_frames_before_it_kept(tmp_path, name, codec, options, tail):
    path = noise_pictures(tmp_path / name, codec, options)
    data = path.read_bytes()
    keep = len(data) * 6 // 10
    garbage = np.random.default_rng(0).integers(0, 256, len(data) - keep, dtype=np.uint8).tobytes()
    path.write_bytes(data[:keep] + (garbage if tail == "garbage" else b""))
    frames, error = frames_and_error(path)
    assert 10 <= frames <= 20
    assert error is not None and name in error and "kept" in error


def test_noise_behind_a_stream_without_a_table_of_contents_is_reported(video):
    path = video("a.ts", "libx264")
    whole = path.read_bytes()
    path.write_bytes(whole + np.random.default_rng(0).bytes(len(whole)))
    frames, error = frames_and_error(path)
    assert frames == 12
    assert "a.ts ends in" in error and "bytes that are no video; the 12 frames before were kept" in error


def test_a_whole_video_is_not_called_broken(video):
    for name, codec in (("a.mp4", "mpeg4"), ("a.mkv", "libx264"), ("a.avi", "mjpeg"), ("a.ts", "libx264")):
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        assert frames_and_error(video(name, codec, pixels)) == (12, None)


def test_files_that_are_no_video(tmp_path, video):
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(SourceError, match="noise.mp4 is not a picture or a whole video"):
        open_source(str(tmp_path / "noise.mp4"))
    headless = video("cut.mp4")
    headless.write_bytes(headless.read_bytes()[:400])
    with pytest.raises(SourceError, match="cut.mp4 is not a picture or a whole video"):
        open_source(str(headless))


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
    with pytest.raises(SourceError, match="has no video in it"):
        open_source(str(path))


def test_a_camera_that_is_not_there():
    with pytest.raises(SourceError, match="/dev/video97: no such camera; there are: "):
        open_source("97", camera=True)
    with pytest.raises(SourceError, match="no such camera"):
        open_source("/dev/video97")
    with pytest.raises(SourceError, match="camera /dev/null cannot be opened"):
        open_source("/dev/null", size=(640, 480), camera=True)


class TestReadAhead:
    def test_gives_every_frame_in_order_and_then_the_error(self, tmp_path):
        path = noise_pictures(tmp_path / "a.avi", "mjpeg")
        path.write_bytes(path.read_bytes()[:-5000])
        plain, _ = frames_and_error(path)
        ahead, names = ReadAhead(open_source(str(path))), []
        with pytest.raises(SourceError):
            for frame in ahead:
                names.append(frame.name)
        assert [name.split()[-1] for name in names] == [str(index) for index in range(plain)]
        ahead.close()

    def test_frames_stay_intact_while_later_ones_are_decoded(self, video):
        path = video(count=10)
        expected = ffmpeg_rgb(path)
        with open_source(str(path)) as source:
            kept = list(ReadAhead(source, depth=10))
            for frame, rgb in zip(kept, expected):
                assert np.abs(to_rgb(frame).astype(int) - rgb).max() <= 2
        assert len(kept) == 10

    def test_a_consumer_that_stops_early_stops_the_thread(self, video):
        ahead = ReadAhead(open_source(str(video(count=50))))
        assert len(list(itertools.islice(ahead, 2))) == 2
        ahead.close()
        assert not ahead._thread.is_alive()

    def test_a_slow_consumer_of_a_camera_gets_the_newest_frame(self, video):
        with open_source(str(video(count=30))) as source:
            ahead = ReadAhead(source, depth=1, newest=True)
            frames = iter(ahead)
            first = next(frames)
            ahead._thread.join(timeout=0.5)  # it reads on, dropping; the last frame waits for us
            rest = [frame.name for frame in frames]
        assert first.name.endswith("frame 0") or ahead.dropped
        assert rest[-1].endswith("frame 29")
        assert ahead.dropped + len(rest) + 1 == 30
