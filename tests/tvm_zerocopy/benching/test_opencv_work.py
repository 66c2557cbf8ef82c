"""The peers' work around the network gives what this project's numpy references give."""

import numpy as np
import pytest

from tvm_zerocopy.benching.agreement import compare_detections
from tvm_zerocopy.benching.work import Work
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.reference import nms, preprocess
from tvm_zerocopy.specs import Frame, Nms, Preprocess

pytest.importorskip("cv2", reason="OpenCV is not installed: pip install opencv-python-headless")
from tvm_zerocopy.benching.opencv_work import OpenCVWork

SIZE = (96, 128)


def work(frame=None, spec=None, head="yolov5", **more):
    frame = frame or Frame("bgr8", 90, 160)
    return Work(
        "", 1, None, None, None, "images", (1, 3, *SIZE), frame, spec or Preprocess(), Nms(head=head, **more), 1
    )


@pytest.mark.parametrize("spec", [Preprocess(), Preprocess.yolox(), Preprocess.imagenet(), Preprocess(scaleup=False)])
@pytest.mark.parametrize("color", ["bgr8", "rgb8", "rgba8", "gray8", "nv12", "i420", "yuyv"])
def test_the_models_input(spec, color):
    frame = Frame(color, 90, 160)
    pixels = np.random.default_rng(0).integers(0, 256, frame.shapes(90, 160)[0], np.uint8)
    found = OpenCVWork(work(frame, spec)).blob(pixels)
    expected = preprocess(pixels, frame, spec, SIZE)
    one_level = abs(spec.scale) / min(spec.std)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= 1.01 * one_level + 1e-4 * np.abs(expected).max()


def raw_output(head, seed):
    random = np.random.default_rng(seed)
    rows, classes = (SIZE[0] // 8) * (SIZE[1] // 8) * 21 // 16, 4
    scores = random.uniform(0, 1, (rows, classes)).astype(np.float32)
    corner = random.uniform(10, 90, (rows, 2))
    extent = random.uniform(5, 40, (rows, 2))
    if head == "end2end":
        boxes = np.concatenate([corner, corner + extent], axis=1)
        return np.concatenate([boxes, scores[:, :1], scores[:, 1:2] * 4 // 1], axis=1).astype(np.float32)
    xywh = np.concatenate([corner, extent], axis=1)
    if head == "yolox":
        xywh = random.uniform(-1, 1, (rows, 4))
    objectness = random.uniform(0, 1, (rows, 1)) ** 4
    if head == "yolov8":
        return np.concatenate([xywh, scores * objectness], axis=1).astype(np.float32).T
    return np.concatenate([xywh, objectness, scores], axis=1).astype(np.float32)


@pytest.mark.parametrize("agnostic", [False, True])
@pytest.mark.parametrize("head", ["yolov5", "yolov8", "yolox", "end2end"])
def test_boxes_from_raw_outputs(head, agnostic):
    job = work(head=head, class_agnostic=agnostic)
    raw = raw_output(head, 7)
    found = OpenCVWork(job).results([raw[None]])
    boxes, scores, classes = nms.detect(raw, head, class_agnostic=agnostic, input_size=SIZE)
    where = letterbox(90, 160, *SIZE, Preprocess())
    expected = np.array(unletterbox_boxes(boxes.tolist(), where, 90, 160), np.float32).reshape(-1, 4)
    agreement = compare_detections("numpy", [(expected, scores, classes)], [found], 0.25, False)
    assert agreement.agrees and agreement.boxes > 5, agreement


def test_no_candidate_is_no_box():
    boxes, scores, classes = OpenCVWork(work()).results([np.zeros((1, 10, 9), np.float32)])
    assert boxes.shape == (0, 4) and len(scores) == len(classes) == 0
