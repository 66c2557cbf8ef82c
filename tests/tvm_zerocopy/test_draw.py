"""Drawing: where ink must and must not be."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tvm_zerocopy.draw import class_color, draw, label

EMPTY = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int32)


def test_nothing_found_leaves_the_picture_as_it_is():
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    np.testing.assert_array_equal(draw(pixels, *EMPTY), pixels)


def test_a_box_is_drawn_on_its_edges_and_nowhere_inside():
    pixels = np.zeros((400, 600, 3), np.uint8)
    drawn = draw(pixels, np.array([[100, 200, 300, 350]], np.float32), np.array([0.5]), np.array([3]), list("abcd"))
    for y, x in ((200, 200), (349, 200), (275, 100), (275, 299)):
        assert tuple(drawn[y, x]) == class_color(3)
    assert not drawn[210:340, 110:290].any()
    assert drawn[170:200, 100:140].any(), "the label sits on the box"
    assert not pixels.any(), "the source is not changed"


def test_neighbouring_classes_look_different():
    colors = [np.array(class_color(i), int) for i in range(20)]
    assert all(abs(a - b).sum() > 60 for a, b in zip(colors, colors[1:]))


def test_labels_name_the_class_or_its_number():
    assert label(1, 0.874, ("cat", "dog")) == "dog 0.87"
    assert label(5, 0.5, ("cat", "dog")) == label(5, 0.5, None) == "class 5 0.50"


@settings(deadline=None, max_examples=60)
@given(
    st.integers(1, 80),
    st.integers(1, 80),
    st.lists(st.tuples(*[st.floats(-20, 100, width=32)] * 4), max_size=4),
)
def test_any_picture_size_and_any_boxes(height, width, corners):
    boxes = np.array([(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in corners], np.float32)
    pixels = np.full((height, width, 3), 7, np.uint8)
    drawn = draw(pixels, boxes.reshape(-1, 4), np.full(len(boxes), 0.5), np.arange(len(boxes)), None)
    assert drawn.shape == pixels.shape and drawn.dtype == np.uint8
