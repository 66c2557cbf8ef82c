"""The scoring of detectors, against OpenCV's NMS and cases worked out by hand."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tvm_zerocopy.models.training.evaluate import IOUS, average_precision, iou_matrix, letterbox, match_detections, nms


def raw_output(seed, count, classes):
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 100, (count, 2)), rng.uniform(5, 60, (count, 2))], 1)
    return np.concatenate([boxes, rng.uniform(0, 1, (count, 1 + classes))], 1).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 80), iou=st.floats(0.2, 0.8))
def test_nms_equals_opencvs(seed, count, iou):
    output = raw_output(seed, count, 1)
    found = nms(output, 0.2, iou)
    scores = output[:, 4] * output[:, 5]
    corner = np.concatenate([output[:, :2] - output[:, 2:4] / 2, output[:, 2:4]], 1)
    kept = np.asarray(cv2.dnn.NMSBoxes(corner.astype(float), scores.astype(float), 0.2, iou)).reshape(-1).astype(int)
    np.testing.assert_allclose(found[:, 4], scores[kept], rtol=1e-6)
    np.testing.assert_allclose(found[:, :2], corner[kept, :2], atol=1e-3)


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 900), width=st.integers(1, 900))
def test_letterbox_fills_one_side_and_centres_the_other(height, width):
    assume(min(height, width) * min(64 / height, 96 / width) > 1)  # the shorter side keeps a pixel
    padded, _, (left, top) = letterbox(np.full((height, width, 3), 9, np.uint8), 64, 96)
    assert padded.shape == (64, 96, 3)
    inside = (padded[..., 0] == 9).nonzero()
    assert (inside[0].min(), inside[1].min()) == (top, left)
    assert left == 0 or top == 0
    assert abs((95 - inside[1].max()) - left) <= 1
    assert abs((63 - inside[0].max()) - top) <= 1


def test_iou_by_hand():
    a = np.array([[0, 0, 10, 10]], float)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], float)
    np.testing.assert_allclose(iou_matrix(a, b), [[1, 1 / 3, 0]])


def test_average_precision_by_hand():
    assert average_precision(np.array([True, True]), np.array([0.9, 0.8]), 2) == 1.0
    assert average_precision(np.array([False, False]), np.array([0.9, 0.8]), 2) == 0.0
    # right, wrong, right of two: precision 1 up to recall 0.5, then 2/3
    got = average_precision(np.array([True, False, True]), np.array([0.9, 0.8, 0.7]), 2)
    assert got == pytest.approx((51 * 1 + 50 * 2 / 3) / 101)
    # nothing found beyond half of the truths
    assert average_precision(np.array([True]), np.array([0.9]), 2) == pytest.approx(51 / 101)


def test_a_truth_is_taken_once_and_by_its_own_class():
    target = np.array([[1, 0, 0, 10, 10]], np.float32)
    found = np.array([[0, 0, 10, 10, 0.9, 0], [0, 0, 10, 9, 0.8, 1], [0, 0, 10, 10, 0.7, 1]], np.float32)
    matched = match_detections(found, target)
    assert matched[:, 0].tolist() == [False, True, False]
    at_95 = len(IOUS) - 1  # 0.9 overlap is not enough there, the third box takes it
    assert matched[:, at_95].tolist() == [False, False, True]
