"""Videos that the tests encode themselves."""

from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'tvm-zerocopy[video]'")


def write_video(path, codec="mpeg4", pixels="yuv420p", size=(64, 48), count=12, **options):
    """Frames whose brightness grows with their number, over a gradient; returns the path."""
    width, height = size
    with av.open(str(path), "w", **options) as container:
        stream = container.add_stream(codec, rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = width, height, pixels
        for index in range(count):
            picture = np.zeros((height, width, 3), np.uint8)
            picture[..., 0] = np.linspace(0, 200, width)[None]
            picture[..., 1] = index * 4
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format=pixels)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture
def video(tmp_path):
    """A function (name, codec, pixel format, ...) -> path."""
    return lambda name="video.mp4", *args, **kwargs: write_video(tmp_path / name, *args, **kwargs)
