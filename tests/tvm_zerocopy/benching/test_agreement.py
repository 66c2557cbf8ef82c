import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.benching.agreement import compare_detections, compare_raw

CONF = 0.25


def detections(count, seed=0):
    random = np.random.default_rng(seed)
    corner = random.uniform(0, 500, (count, 2))
    boxes = np.concatenate([corner, corner + random.uniform(20, 200, (count, 2))], axis=1)
    return boxes.astype(np.float32), random.uniform(0.5, 1, count).astype(np.float32), np.arange(count, dtype=np.int32)


def compare(theirs, ours, reduced=False):
    return compare_detections("reference", [theirs], [ours], CONF, reduced)


@given(st.integers(1, 20), st.randoms(use_true_random=False))
def test_the_same_boxes_in_any_order_agree(count, random):
    theirs = detections(count)
    order = list(range(count))
    random.shuffle(order)
    found = compare(theirs, tuple(part[order] for part in theirs))
    assert found.agrees and (found.matched, found.extra) == (count, 0)
    assert found.least_iou == pytest.approx(1) and found.most_score == 0


@pytest.mark.parametrize("part, wrong", [(0, 40.0), (1, 0.2), (2, 1)])
def test_another_box_score_or_class_does_not(part, wrong):
    theirs = detections(5)
    ours = [np.array(values) for values in theirs]
    ours[part][3] += np.asarray(wrong, ours[part].dtype)
    found = compare(theirs, tuple(ours))
    assert found.agrees is False and (found.matched, found.extra) == (4, 1)


def test_a_missing_box_does_not_unless_rounding_at_conf_decides():
    theirs = detections(5)
    assert compare(theirs, tuple(part[:4] for part in theirs)).agrees is False
    theirs[1][4] = CONF + 0.001
    found = compare(theirs, tuple(part[:4] for part in theirs))
    assert found.agrees and found.excused == 1


def test_boxes_clipped_to_nothing_agree_within_a_tenth_of_a_pixel():
    theirs = detections(5)
    theirs[0][2:4, 2] = theirs[0][2:4, 0]  # no width
    moved = [np.array(values) for values in theirs]
    moved[0][2:4] += np.array([[0.01], [3.0]], np.float32)
    found = compare(theirs, tuple(moved))
    assert (found.agrees, found.matched, found.extra) == (False, 4, 1)


def test_the_same_box_twice_is_one_too_many():
    theirs = detections(3)
    assert compare(theirs, tuple(np.concatenate([part, part[:1]]) for part in theirs)).agrees is False


def test_no_boxes_are_no_agreement():
    empty = detections(0)
    assert compare(empty, empty).agrees is None and "no boxes" in compare(empty, empty).line()
    assert compare(empty, detections(1)).agrees is False


def test_raw_outputs_by_their_range():
    a = np.linspace(-10, 10, 100, dtype=np.float32)
    assert compare_raw("reference", [[a]], [[a + 1e-4]], False).agrees
    assert not compare_raw("reference", [[a]], [[a + 1]], False).agrees
    assert not compare_raw("reference", [[a]], [[a[:50]]], False).agrees
