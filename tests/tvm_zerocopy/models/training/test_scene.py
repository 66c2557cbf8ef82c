"""Drawn scenes: the same from the same seed, boxes that are the exact visible extents."""

import numpy as np
import pytest

from tvm_zerocopy.models.training import scene as module
from tvm_zerocopy.models.training.camera import Camera
from tvm_zerocopy.models.training.canvas import Canvas, Light
from tvm_zerocopy.models.training.scene import CLASSES, Placed, Scene
from tvm_zerocopy.models.training.shapes import Thing, box, corners

LIGHT = Light(np.array([0.0, 0.8, -0.6]), 0.5, (200, 200, 200), 1e9)


def test_a_seed_is_a_picture():
    one, boxes, labels = Scene(np.random.default_rng([4, 2])).render(120, 208)
    same, same_boxes, same_labels = Scene(np.random.default_rng([4, 2])).render(120, 208)
    other, _, _ = Scene(np.random.default_rng([4, 3])).render(120, 208)
    assert one.shape == (120, 208, 3)
    assert one.dtype == np.uint8
    assert np.array_equal(one, same)
    assert np.array_equal(boxes, same_boxes)
    assert np.array_equal(labels, same_labels)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("seed", range(6))
def test_boxes_lie_within_the_picture(seed):
    _, boxes, labels = Scene(np.random.default_rng([8, seed])).render(144, 256)
    assert len(boxes) == len(labels)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= [256, 144]).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert set(labels.tolist()) <= set(range(len(CLASSES)))


def test_every_class_appears():
    seen = set()
    for seed in range(12):
        seen |= set(Scene(np.random.default_rng([9, seed])).render(72, 128)[2].tolist())
    assert seen == set(range(len(CLASSES)))


def crate(size):
    parts = box((0, 0, 0), size, (40, 160, 90))
    return Thing(parts, [], corners(parts), 0.5, size[1])


def scene_of(*placed):
    made = Scene(np.random.default_rng(1), objects=0)
    made.height, made.pitch, made.focal, made.light = 1.5, 0.0, 1.0, LIGHT
    made.placed = list(placed)
    return made


def test_a_box_is_where_the_pinhole_formula_puts_it():
    # a cube of 1 m, its front 9.5 m away, standing on the ground 1.5 m below the camera
    made = scene_of(Placed(crate((1, 1, 1)), np.array([2.0, 0, 10.0]), 0.0, 1))
    _, boxes, labels = made.render(360, 640)
    assert labels.tolist() == [1]
    left, bottom, top = 320 + 640 * 1.5 / 10.5, 180 + 640 * 1.5 / 9.5, 180 + 640 * 0.5 / 10.5
    right = 320 + 640 * 2.5 / 9.5
    np.testing.assert_allclose(boxes[0], [left, top, right, bottom], atol=1.0)


def test_what_is_hidden_leaves_the_box_and_then_the_truth():
    wall = np.array([-1.0, 0, 5.0])
    far = Placed(crate((1, 1, 1)), np.array([0.0, 0, 10.0]), 0.0, 2)
    near = Placed(crate((1.9, 2.9, 0.2)), wall, 0.0, None)
    alone = scene_of(far).render(360, 640)[1]
    partly, labels = scene_of(far, near._replace(thing=near.thing._replace(props=near.thing.parts))).render(360, 640)[
        1:
    ]
    assert labels.tolist() == [2]
    assert partly[0, 0] > alone[0, 0] + 5  # the left part is behind the wall
    np.testing.assert_allclose(partly[0, 1:], alone[0, 1:], atol=1.0)
    wide = crate((6, 2.9, 0.2))
    hidden = Placed(wide._replace(props=wide.parts), np.array([0.0, 0, 5.0]), 0.0, None)
    assert len(scene_of(far, hidden).render(360, 640)[1]) == 0


def test_specks_have_no_box():
    speck = Placed(crate((0.2, 0.2, 0.2)), np.array([0.0, 0, 60.0]), 0.0, 0)
    assert len(scene_of(speck).render(360, 640)[1]) == 0
    assert module.MIN_SIDE * 640 > 640 * 0.2 / 60


def test_nearer_faces_cover_farther_ones():
    camera = Camera(100, 100, 1.0, 1.0, 0.0)
    canvas = Canvas(np.zeros((100, 100, 3), np.uint8), camera, LIGHT)
    canvas.draw(box((0, 0, 0), (2, 2, 2), (255, 0, 0)), np.array([0.0, 0, 20.0]), 0.0, 1)
    canvas.draw(box((0, 0, 0), (1, 2, 1), (0, 255, 0)), np.array([0.0, 0, 10.0]), 0.0, 2)
    assert canvas.owner[50, 50] == 2
    assert canvas.picture[50, 50, 1] > 50
    assert canvas.picture[50, 50, 0] == 0
