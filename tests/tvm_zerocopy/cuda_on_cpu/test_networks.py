"""Whole programs for CUDA against onnxruntime, their kernels run on the CPU."""

import numpy as np
import onnxruntime
import pytest

import tvm_zerocopy as tz
from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.models import build
from tvm_zerocopy.reference import image

SIZE = 64
MODELS = ["yolov5n", "yolov8n", "resnet18"]


def managed(array):
    buffer = ExternalBuffer.allocate(array.shape, array.dtype, kind="managed")
    with buffer.for_host() as host:
        host[:] = array
    return buffer


def network_input(picture, preprocess):
    return image.preprocess(picture, tz.Frame("bgr8", *picture.shape[:2]), preprocess, (SIZE, SIZE))


@pytest.mark.parametrize("name", MODELS)
def test_raw_outputs_are_onnxruntime_s(compile_emulated, name):
    model = build(name, size=SIZE, classes=3)
    engine = compile_emulated(model, postprocess=None, preprocess=tz.Preprocess())
    picture = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    found = engine(managed(picture))[0]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    blob = network_input(picture, tz.Preprocess())
    expected = session.run(None, {session.get_inputs()[0].name: blob})[0]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", MODELS[:2])
def test_detections_are_those_of_the_cpu_program(compile_emulated, name):
    model = build(name, size=SIZE, classes=3)
    nms = tz.Nms(conf=1e-4)
    engine = compile_emulated(model, postprocess=nms)
    on_cpu = tz.compile(model, postprocess=nms)
    for seed, shape in enumerate([(48, 80, 3), (64, 64, 3), (90, 31, 3)]):
        picture = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        found, expected = engine(managed(picture)), on_cpu(picture)
        assert len(found.scores) == len(expected.scores) > 0
        np.testing.assert_allclose(found.scores, expected.scores, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
        np.testing.assert_array_equal(found.classes, expected.classes)
