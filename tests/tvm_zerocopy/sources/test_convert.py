"""Conversions for drawing and for artifacts of another format, held against OpenCV."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_zerocopy.errors import FrameError, SpecError
from tvm_zerocopy.sources import SourceFrame
from tvm_zerocopy.sources.convert import as_compiled, to_rgb
from tvm_zerocopy.specs import COLOR_FORMATS, Frame

pytest.importorskip("av", reason="PyAV is not installed: pip install 'tvm-zerocopy[video]'")

# OpenCV's conversions are BT.601 limited, as Frame's default
OPENCV_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "gray8": cv2.COLOR_GRAY2RGB,
    "nv12": cv2.COLOR_YUV2RGB_NV12,
    "nv21": cv2.COLOR_YUV2RGB_NV21,
    "i420": cv2.COLOR_YUV2RGB_I420,
    "yuyv": cv2.COLOR_YUV2RGB_YUY2,
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
}


def smooth(height, width, seed=0):
    """A picture whose neighbours are alike, so that chroma filters do not differ."""
    small = np.random.default_rng(seed).integers(40, 200, (3, 3, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


def source_frame(rgb, form):
    wanted = Frame(form)
    return as_compiled(SourceFrame((rgb,), Frame("rgb8", *rgb.shape[:2]), "picture"), wanted)


@pytest.mark.parametrize("form", OPENCV_TO_RGB)
def test_there_and_back_as_opencv_reads_it(form):
    rgb = smooth(48, 64)
    frame = source_frame(rgb, form)
    assert frame.planes[0].shape == Frame(form).shapes(48, 64)[0]
    expected = cv2.cvtColor(frame.planes[0], OPENCV_TO_RGB[form])
    if form != "gray8":
        assert np.abs(expected.astype(int) - rgb).max() <= 12, "the frame shows the picture"
    assert np.abs(to_rgb(frame).astype(int) - expected).max() <= 1


def test_gray_is_opencvs():
    rgb = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    np.testing.assert_array_equal(source_frame(rgb, "gray8").planes[0], cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(COLOR_FORMATS),
    st.sampled_from(COLOR_FORMATS),
    st.integers(1, 20),
    st.integers(1, 20),
    st.booleans(),
    st.integers(0, 16),
)
def test_any_format_into_any_other_has_the_shape_and_pitch_that_was_asked(
    first, second, half_h, half_w, planes, padding
):
    height, width = half_h * 2, half_w * 2
    planes = planes and second in ("nv12", "nv21", "i420")
    pitch = Frame(second).row_bytes(width) + 2 * padding if padding else None
    frame = source_frame(smooth(height, width), first)
    wanted = Frame(second, height, width, pitch, planes=planes, matrix="bt709", range="full")
    converted = as_compiled(frame, wanted)
    assert [p.shape for p in converted.planes] == list(wanted.shapes(height, width))
    if pitch:
        assert converted.planes[0].strides[0] == pitch
    to_rgb(converted)


def test_a_frame_that_fits_is_handed_on_untouched():
    rgb = smooth(8, 8)
    frame = SourceFrame((rgb,), Frame("rgb8", 8, 8), "picture")
    assert as_compiled(frame, Frame("rgb8")) is frame
    assert as_compiled(frame, Frame("rgb8", 8, 8)) is frame


def test_sizes_that_cannot_be():
    frame = SourceFrame((smooth(9, 8),), Frame("rgb8", 9, 8), "photo.jpg")
    with pytest.raises(FrameError, match="photo.jpg is 8x9 and the model was compiled for 8x8"):
        as_compiled(frame, Frame("rgb8", 8, 8))
    with pytest.raises(SpecError, match="even width and height"):
        as_compiled(frame, Frame("nv12"))
