"""Published architectures, frame to boxes through ``relay.build``, against onnxruntime and the numpy references."""

import numpy as np
import onnxruntime
import pytest
import tvm
from preprocess_frames import random_frame
from relay_cases import build, executor
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.passes.relay import FoldNormalization, FuseDetectionHead, FusePreprocess
from tvm_zerocopy.reference import nms as reference
from tvm_zerocopy.reference import preprocess as reference_image

SIZE = (64, 96)  # height, width
FRAME = tz.Frame("nv12", 48, 80)
HEADS = {"yolov8n": "yolov8"}  # YOLOv5: test_relay_engine.py


def threshold(scores):
    """The middle of the widest gap among the better half: rounding decides nothing. Random weights score low."""
    best = np.sort(scores)[len(scores) // 2 :].astype(float)
    at = np.argmax(np.diff(best))
    return float((best[at] + best[at + 1]) / 2)


@pytest.mark.parametrize("name", HEADS)
def test_frame_to_boxes(name):
    model, preprocess = models.build(name, size=SIZE, classes=3), tz.Preprocess()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (array,) = random_frame(FRAME, FRAME.height, FRAME.width)
    image = reference_image(array, FRAME, preprocess, SIZE)
    (raw,) = session.run(None, {session.get_inputs()[0].name: image})[:1]
    _, scores, _ = reference.decode(raw[0], HEADS[name], SIZE)
    conf = threshold(scores.max(axis=1))

    mod, _ = relay.frontend.from_onnx(model, freeze_params=True)
    passes = [
        relay.transform.DynamicToStatic(),
        FusePreprocess(FRAME, preprocess),
        FuseDetectionHead(tz.Nms(conf=conf, iou=0.45, max_det=20)),
        FoldNormalization(),
    ]
    boxes, best, classes, count = executor(build(tvm.transform.Sequential(passes)(mod)))[1](frame=array)

    expected = reference.detect(raw[0], HEADS[name], conf, 0.45, 20, input_size=SIZE)
    geometry = letterbox(FRAME.height, FRAME.width, *SIZE, preprocess)
    xyxy = np.reshape(unletterbox_boxes(expected[0].astype(float), geometry, FRAME.height, FRAME.width), (-1, 4))
    assert int(count[0]) == len(xyxy) > 0
    np.testing.assert_array_equal(classes[0, : len(xyxy)], expected[2])
    np.testing.assert_allclose(best[0, : len(xyxy)], expected[1], rtol=1e-4)
    np.testing.assert_allclose(boxes[0, : len(xyxy)], xyxy, rtol=1e-3, atol=1e-2)
