"""Whole detectors, frame in and boxes out, against onnxruntime with the numpy references before and after it."""

import numpy as np
import onnxruntime
import pytest
from head_cases import threshold
from road import FoldNormalization, FuseDetectionHead, FusePreprocess, frame_argument, network_program

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.reference import nms as reference
from tvm_zerocopy.reference.image import preprocess as reference_preprocess

SIZE = (64, 96)
HEIGHT, WIDTH = 150, 130  # of the frames
NV12 = {"format": "nv12", "batch": 2}
DETECTORS = {
    "yolov5n": ("yolov5", tz.Frame(**NV12), tz.Preprocess()),
    "yolov8n": ("yolov8", tz.Frame("bgr8", HEIGHT, WIDTH, batch=2), tz.Preprocess()),
    "yolo11n": ("yolov8", tz.Frame("yuyv", HEIGHT, WIDTH, batch=2), tz.Preprocess()),
    "yolov10n": ("end2end", tz.Frame(**NV12), tz.Preprocess()),
    # random weights are scaled for inputs of about one
    "yolox_nano": ("yolox", tz.Frame(**NV12), tz.Preprocess.yolox(scale=1 / 255)),
}


@pytest.mark.parametrize("name", DETECTORS)
def test_same_detections_as_onnxruntime_and_numpy(name):
    head, frame, preprocess = DETECTORS[name]
    proto = models.build(name, size=SIZE, classes=4, batch=2, width=0.125)
    imported = import_onnx(proto, batch=2)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = (2, *frame.shapes(HEIGHT, WIDTH)[0])
    frames = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    (raw,) = session.run(None, {imported.input_name: reference_preprocess(frames, frame, preprocess, SIZE)})

    conf = threshold([reference.decode(one, head, SIZE)[1].max(axis=1) for one in raw])
    mod = imported.module
    for step in (FusePreprocess(frame, preprocess), FoldNormalization(), FuseDetectionHead(tz.Nms(conf, 0.45, 50))):
        mod = step(mod)
    boxes, scores, classes, counts = network_program(mod)(frame_argument(frame, frames))

    geometry = letterbox(HEIGHT, WIDTH, *SIZE, preprocess)
    for b in range(2):
        found, best, labels = reference.detect(raw[b], head, conf, 0.45, max_det=50, input_size=SIZE)
        found = np.asarray(unletterbox_boxes(found.astype(float), geometry, HEIGHT, WIDTH))
        count = counts[b]
        assert count == len(found) >= 5
        assert np.array_equal(classes[b, :count], labels)
        np.testing.assert_allclose(scores[b, :count], best, atol=1e-3)
        np.testing.assert_allclose(boxes[b, :count], found, atol=0.1)
