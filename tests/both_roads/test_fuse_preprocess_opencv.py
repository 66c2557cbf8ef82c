"""The preprocess kernel against OpenCV: what people run today, on sizes nobody chose."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opencv_preprocess import opencv_levels, to_bgr
from preprocess_frames import INPUT, LAYOUTS, random_frame
from road import image_program, samples_gathered

from tvm_zerocopy.specs import YUV_420, YUV_422, Frame, Preprocess

RAW = {"scale": 1.0}  # levels 0..255, so that equal means equal
SIDES = st.one_of(st.integers(1, 40), st.integers(1, 1500))


@settings(max_examples=150, deadline=None)
@given(
    SIDES,
    SIDES,
    st.sampled_from(
        [("letterbox", "center", "nearest"), ("letterbox", "top_left", "floor"), ("stretch", "center", "nearest")]
    ),
    st.booleans(),
    st.sampled_from(["linear", "nearest"]),
    st.integers(0, 2**32 - 1),
)
@example(2 * INPUT[0], 2 * INPUT[1], ("letterbox", "center", "nearest"), True, "linear", 0)  # OpenCV averages areas
@example(*INPUT, ("letterbox", "center", "nearest"), True, "linear", 0)  # OpenCV copies
@example(1, 1500, ("letterbox", "center", "nearest"), True, "linear", 0)
@example(1500, 1, ("letterbox", "center", "nearest"), True, "nearest", 0)
def test_letterbox_equals_opencv(height, width, placement, scaleup, interpolation, seed):
    resize, align, rounding = placement
    preprocess = Preprocess(
        resize=resize, align=align, rounding=rounding, scaleup=scaleup, interpolation=interpolation, **RAW
    )
    frame = Frame("bgr8")
    (array,) = random_frame(frame, height, width, seed)
    found = image_program(frame, preprocess)(array)
    np.testing.assert_array_equal(found, opencv_levels(array, preprocess, INPUT))


@pytest.mark.parametrize("name, planes", LAYOUTS)
@settings(max_examples=12, deadline=None)
@given(SIDES, SIDES, st.integers(0, 9), st.integers(0, 15), st.integers(0, 2**32 - 1))
def test_every_format_equals_opencv(name, planes, height, width, padding, misalign, seed):
    """cvtColor, resize, copyMakeBorder; rows padded, data on any byte, size known at run time only."""
    frame, preprocess = Frame(name, planes=planes), Preprocess(**RAW)
    height += height % 2 if name in YUV_420 else 0
    width += width % 2 if name in YUV_420 + YUV_422 else 0
    arrays = random_frame(frame, height, width, seed, padding, misalign)
    found = image_program(frame, preprocess)(*arrays)
    np.testing.assert_array_equal(found, opencv_levels(to_bgr(frame, arrays), preprocess, INPUT))


@pytest.mark.parametrize("name", ["bgr8", "nv12"])
@pytest.mark.parametrize("factors, taps", [((1, 1), 1), ((3, 3), 1), ((1, 5), 1), ((2, 2), 4), ((3, 4), 4)])
def test_fixed_sizes_that_fall_on_pixels(name, factors, taps):
    """Odd multiples of the input's sides need one pixel each, not four; the levels are the same."""
    height, width = (side * factor for side, factor in zip(INPUT, factors))
    frame, preprocess = Frame(name, height=height, width=width), Preprocess(resize="stretch", **RAW)
    arrays = random_frame(frame, height, width, padding=3)
    assert samples_gathered(frame, preprocess, INPUT) == taps * 3 * INPUT[0] * INPUT[1]
    found = image_program(frame, preprocess)(*arrays)
    np.testing.assert_array_equal(found, opencv_levels(to_bgr(frame, arrays), preprocess, INPUT))


@pytest.mark.parametrize("name", ["bgr8", "nv12"])
def test_smooth_pictures_too(name):
    """Noise hides errors of place; a gradient shows them."""
    height, width = 250, 334
    frame, preprocess = Frame(name), Preprocess(**RAW)
    shape = frame.shapes(height, width)[0]
    ramp = np.add.outer(np.arange(shape[0]), np.arange(shape[1])) % 256
    array = np.ascontiguousarray(np.broadcast_to(ramp.reshape(ramp.shape + (1,) * (len(shape) - 2)), shape), np.uint8)
    found = image_program(frame, preprocess)(array)
    np.testing.assert_array_equal(found, opencv_levels(to_bgr(frame, [array]), preprocess, INPUT))
