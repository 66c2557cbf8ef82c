"""Whole detectors, frame in and boxes out, against onnxruntime with the numpy references before and after it."""

import numpy as np
import onnxruntime
import pytest
import tvm
from tvm import relax

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.passes.fuse_detection_head import FuseDetectionHead
from tvm_zerocopy.passes.fuse_preprocess import FusePreprocess
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


def margin(values, lower, upper):
    """A threshold in the middle of the widest gap among the values of that range: rounding moves nothing across it."""
    values = np.sort(values[(values > lower) & (values < upper)])
    at = np.argmax(np.diff(values))
    return float(values[at] + values[at + 1]) / 2


@pytest.mark.parametrize("name", DETECTORS)
def test_same_detections_as_onnxruntime_and_numpy(name):
    head, frame, preprocess = DETECTORS[name]
    proto = models.build(name, size=SIZE, classes=4, batch=2, width=0.125)
    imported = import_onnx(proto, batch=2)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    shape = (2, *frame.shapes(HEIGHT, WIDTH)[0])
    frames = np.random.default_rng(7).integers(0, 256, shape, dtype=np.uint8)
    (raw,) = session.run(None, {imported.input_name: reference_preprocess(frames, frame, preprocess, SIZE)})

    best = np.concatenate([reference.decode(one, head, SIZE)[1].max(axis=1) for one in raw])
    conf = margin(best, np.quantile(best, 0.5), np.quantile(best, 0.9))
    passes = [FusePreprocess(frame, preprocess), FuseDetectionHead(tz.Nms(conf=conf, iou=0.45, max_det=50))]
    mod = tvm.transform.Sequential(passes)(imported.module)
    vm = relax.VirtualMachine(tvm.compile(mod, target="llvm").jit(), tvm.cpu())
    boxes, scores, classes, counts = (o.numpy() for o in vm["main"](tvm.runtime.tensor(frames)))

    geometry = letterbox(HEIGHT, WIDTH, *SIZE, preprocess)
    for b in range(2):
        found, best, labels = reference.detect(raw[b], head, conf, 0.45, max_det=50, input_size=SIZE)
        found = np.asarray(unletterbox_boxes(found.astype(float), geometry, HEIGHT, WIDTH))
        count = counts[b]
        assert count == len(found) >= 5
        assert np.array_equal(classes[b, :count], labels)
        np.testing.assert_allclose(scores[b, :count], best, atol=1e-3)
        np.testing.assert_allclose(boxes[b, :count], found, atol=0.1)
