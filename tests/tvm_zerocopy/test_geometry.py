"""Letterbox geometry against Ultralytics' and YOLOX's published formulas, written out here as they publish them."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tvm_zerocopy.errors import FrameError
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.specs import Preprocess

SIDES = st.integers(1, 5000)
INPUTS = st.sampled_from([1, 32, 320, 416, 640, 1280])


def ultralytics(height, width, input_height, input_width, center, scaleup):
    """LetterBox.__call__ of ultralytics/data/augment.py."""
    r = min(input_height / height, input_width / width)
    if not scaleup:
        r = min(r, 1.0)
    new_unpad = int(round(width * r)), int(round(height * r))
    dw, dh = input_width - new_unpad[0], input_height - new_unpad[1]
    if center:
        dw /= 2
        dh /= 2
    top, bottom = int(round(dh - 0.1)) if center else 0, int(round(dh + 0.1))
    left, right = int(round(dw - 0.1)) if center else 0, int(round(dw + 0.1))
    return r, left, top, right, bottom, new_unpad


@given(SIDES, SIDES, INPUTS, INPUTS, st.booleans(), st.booleans())
@example(1080, 1920, 640, 640, True, True)
@example(1, 5000, 640, 640, True, True)
@example(49, 49, 640, 640, True, True)
def test_letterbox_is_ultralytics(height, width, input_height, input_width, center, scaleup):
    preprocess = Preprocess(align="center" if center else "top_left", scaleup=scaleup)
    found = letterbox(height, width, input_height, input_width, preprocess)
    r, left, top, right, bottom, new_unpad = ultralytics(height, width, input_height, input_width, center, scaleup)
    if 0 in new_unpad:  # OpenCV cannot resize to nothing; the picture keeps one pixel
        assert min(found.new_width, found.new_height) == 1
        return
    assert found == (r, r, left, top, *new_unpad)
    assert left + new_unpad[0] + right == input_width
    assert top + new_unpad[1] + bottom == input_height


@given(SIDES, SIDES, INPUTS, INPUTS)
def test_yolox_truncates_and_starts_top_left(height, width, input_height, input_width):
    found = letterbox(height, width, input_height, input_width, Preprocess.yolox())
    r = min(input_height / height, input_width / width)
    assert found == (r, r, 0, 0, max(1, int(width * r)), max(1, int(height * r)))


@given(SIDES, SIDES, INPUTS, INPUTS, st.booleans(), st.sampled_from(["nearest", "floor"]))
def test_picture_lies_inside_the_input(height, width, input_height, input_width, scaleup, rounding):
    g = letterbox(height, width, input_height, input_width, Preprocess(scaleup=scaleup, rounding=rounding))
    assert g.left >= 0 and g.new_width >= 1 and g.left + g.new_width <= input_width
    assert g.top >= 0 and g.new_height >= 1 and g.top + g.new_height <= input_height


def test_stretch_fills_the_input():
    assert letterbox(100, 50, 64, 32, Preprocess(resize="stretch")) == (0.64, 0.64, 0, 0, 32, 64)


@given(SIDES, SIDES, INPUTS, INPUTS, st.booleans(), st.sampled_from(["letterbox", "stretch"]), st.data())
def test_boxes_come_back(height, width, input_height, input_width, scaleup, resize, data):
    geometry = letterbox(height, width, input_height, input_width, Preprocess(scaleup=scaleup, resize=resize))
    box = [data.draw(st.floats(0, limit)) for limit in (width, height, width, height)]
    there = [
        box[0] * geometry.scale_x + geometry.left,
        box[1] * geometry.scale_y + geometry.top,
        box[2] * geometry.scale_x + geometry.left,
        box[3] * geometry.scale_y + geometry.top,
    ]
    (back,) = unletterbox_boxes([there], geometry, height, width)
    np.testing.assert_allclose(back, box, rtol=1e-9, atol=1e-6)


def test_boxes_are_clipped_to_the_frame():
    geometry = letterbox(100, 200, 640, 640, Preprocess())
    assert unletterbox_boxes([(-50, 0, 900, 700)], geometry, 100, 200) == [(0, 0, 200, 100)]


@pytest.mark.parametrize("size", [(0, 10), (10, 0), (-1, 5)])
def test_empty_frames_are_named(size):
    with pytest.raises(FrameError, match="at least 1"):
        letterbox(*size, 640, 640, Preprocess())
