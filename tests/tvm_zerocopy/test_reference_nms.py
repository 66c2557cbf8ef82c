"""The numpy reference against implementations nobody here wrote: onnxruntime's NonMaxSuppression and OpenCV's."""

import cv2
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tvm_zerocopy.reference import nms as reference

ROWS, CLASSES = 40, 3


@pytest.fixture(scope="module")
def onnx_nms():
    """ONNX's NonMaxSuppression on (boxes, scores per class), thresholds as inputs."""
    names = {"boxes": [1, ROWS, 4], "scores": [1, CLASSES, ROWS], "iou": [1], "conf": [1]}
    inputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in names.items()]
    output = helper.make_tensor_value_info("selected", TensorProto.INT64, [None, 3])
    limit = helper.make_tensor("limit", TensorProto.INT64, [1], [ROWS])
    node = helper.make_node("NonMaxSuppression", ["boxes", "scores", "limit", "iou", "conf"], ["selected"])
    graph = helper.make_graph([node], "nms", inputs, [output], [limit])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])

    def run(boxes, scores, iou, conf):
        feeds = {"boxes": boxes[None], "scores": scores.T[None], "iou": [iou], "conf": [conf]}
        return session.run(None, {k: np.asarray(v, np.float32) for k, v in feeds.items()})[0]

    return run


def predictions(seed, spread):
    """Boxes on whole pixels (their areas are exact) and distinct scores, one class above the others in each row."""
    rng = np.random.default_rng(seed)
    centre, size = rng.integers(0, spread, (ROWS, 2)) + 64, 2 * rng.integers(1, 20, (ROWS, 2))
    score = rng.permutation(np.linspace(0.05, 0.95, ROWS))
    label = rng.integers(0, CLASSES, ROWS)
    scores = np.zeros((ROWS, CLASSES))
    scores[np.arange(ROWS), label] = score
    return np.concatenate([centre, size, scores], axis=1).astype(np.float32)


def as_head(values, head):
    """The same predictions as a head's raw output."""
    if head == "yolov8":
        return values.T
    return np.insert(values, 4, 1.0, axis=1)


def scenes(*thresholds):
    return given(seed=st.integers(0, 2**32 - 1), spread=st.sampled_from([1, 20, 200]), iou=st.sampled_from(thresholds))


@pytest.mark.parametrize("head", ["yolov5", "yolov8"])
@settings(max_examples=100, deadline=None)
@scenes(0.0, 0.25, 0.5, 0.75, 1.0)  # float32s: onnxruntime rounds the threshold, torchvision does not
def test_equals_onnxruntime(onnx_nms, head, seed, spread, iou):
    values = predictions(seed, spread)
    boxes, scores, classes = reference.detect(as_head(values, head), head, 0.25, iou)
    xyxy, by_class, _ = reference.decode(as_head(values, head), head)
    selected = onnx_nms(xyxy, by_class, iou, 0.25)
    label, row = selected[:, 1], selected[:, 2]
    order = np.argsort(-by_class[row, label], kind="stable")
    assert np.array_equal(boxes, xyxy[row[order]])
    assert np.array_equal(scores, by_class[row[order], label[order]])
    assert np.array_equal(classes, label[order])


@settings(max_examples=100, deadline=None)
@scenes(0.1234, 0.3217, 0.4711, 0.7013)  # OpenCV computes an overlap as 1 - (1 - overlap)
def test_equals_opencv_class_agnostic(seed, spread, iou):
    values = predictions(seed, spread)
    boxes, scores, _ = reference.detect(as_head(values, "yolov5"), "yolov5", 0.25, iou, class_agnostic=True)
    corner = np.concatenate([values[:, :2] - values[:, 2:4] / 2, values[:, 2:4]], axis=1)
    rows = np.asarray(cv2.dnn.NMSBoxes(corner.tolist(), values[:, 4:].max(axis=1).tolist(), 0.25, iou), int).reshape(-1)
    assert np.array_equal(scores, values[rows, 4:].max(axis=1))
    assert np.array_equal(boxes[:, :2], corner[rows, :2])


def test_max_det_keeps_the_best_and_max_candidates_come_before_suppression():
    values = np.array([[10, 10, 4, 4, 0.9], [10, 10, 4, 4, 0.8], [30, 30, 4, 4, 0.7], [50, 50, 4, 4, 0.6]], np.float32)
    scores = reference.detect(values.T, "yolov8", max_det=2)[1]
    assert scores.tolist() == pytest.approx([0.9, 0.7])
    scores = reference.detect(values.T, "yolov8", max_candidates=2)[1]
    assert scores.tolist() == pytest.approx([0.9])


def test_equal_scores_keep_the_lower_row_and_equal_classes_the_lower_class():
    values = np.array([[10, 10, 4, 4, 0.5, 0.5], [11, 10, 4, 4, 0.5, 0.5]], np.float32)
    boxes, _, classes = reference.detect(values.T, "yolov8")
    assert boxes.tolist() == [[8, 8, 12, 12]] and classes.tolist() == [0]


def test_thresholds_are_exclusive():
    values = np.array([[10, 10, 4, 4, 0.25], [30, 30, 4, 4, 0.5], [30, 31, 4, 2, 0.4]], np.float32)
    scores = reference.detect(values.T, "yolov8", conf=0.25, iou=0.5)[1]
    assert scores.tolist() == pytest.approx([0.5, 0.4])  # the third overlaps the second by exactly a half


def test_what_is_no_number_is_no_detection():
    nan, inf = np.nan, np.inf
    values = np.array(
        [[10, 10, 4, 4, nan, 0.3], [10, nan, 4, 4, 0.9, 0], [10, 10, inf, 4, 0.9, 0], [50, 50, 4, 4, nan, nan]],
        np.float32,
    )
    boxes, scores, classes = reference.detect(values.T, "yolov8")
    assert boxes.tolist() == [[8, 8, 12, 12]] and scores.tolist() == pytest.approx([0.3]) and classes.tolist() == [1]


def test_yolov5_scores_are_products_and_objectness_alone_must_pass():
    row = [10, 10, 4, 4, 0.5, 0.8]
    assert reference.detect(np.array([row], np.float32), "yolov5", conf=0.3)[1].tolist() == pytest.approx([0.4])
    assert len(reference.detect(np.array([row], np.float32), "yolov5", conf=0.4)[1]) == 0
    assert len(reference.detect(np.array([[10, 10, 4, 4, 0.2, 2.0]], np.float32), "yolov5", conf=0.3)[1]) == 0


def test_yolox_grid():
    """The cell of each level that YOLOX's demo decodes by hand: (xy + cell) * stride, exp(wh) * stride."""
    raw = np.zeros((84, 6), np.float32)
    raw[8 * 3 + 2] = [0.5, 0.25, 0, np.log(2), 1, 0.9]  # stride 8, row 3, column 2
    raw[64 + 4 * 1 + 3] = [0, 0, np.log(3), 0, 1, 0.8]  # stride 16, row 1, column 3
    raw[80 + 2 * 1 + 0] = [0.5, 0.5, 0, 0, 1, 0.7]  # stride 32, row 1, column 0
    boxes, scores, _ = reference.detect(raw, "yolox", input_size=(64, 64))
    assert scores.tolist() == pytest.approx([0.9, 0.8, 0.7])
    expected = [[20 - 4, 26 - 8, 20 + 4, 26 + 8], [48 - 24, 16 - 8, 48 + 24, 16 + 8], [16 - 16, 48 - 16, 32, 64]]
    np.testing.assert_allclose(boxes, expected, rtol=1e-6)
    with pytest.raises(ValueError, match="input_size is None"):
        reference.detect(raw, "yolox")


def test_end2end_is_sorted_and_cut_but_not_suppressed():
    rows = np.array(
        [[0, 0, 9, 9, 0.5, 1], [0, 0, 9, 9, 0.9, 1], [0, 0, 9, 9, 0.1, 1], [0, 0, 9, 9, 0.8, -1]], np.float32
    )
    boxes, scores, classes = reference.detect(rows, "end2end", max_det=5)
    assert scores.tolist() == pytest.approx([0.9, 0.5]) and classes.tolist() == [1, 1] and boxes.shape == (2, 4)
