"""Whole programs for CUDA against onnxruntime, their kernels run on the CPU."""

import os

import cv2
import emulator
import numpy as np
import onnxruntime
import pytest
from emulator import managed
from onnx import TensorProto, helper, numpy_helper

import tvm_zerocopy as tz
from tvm_zerocopy import embedded
from tvm_zerocopy.models import build
from tvm_zerocopy.reference import image

ONLY_CHECKED = pytest.mark.skipif(not os.environ.get("EMULATOR_CHECKS"), reason="long; .ci/cuda_checks runs it")
SIZE = 64
MODELS = ["yolov5n", "yolov8n", "resnet18"]
DETECTORS = ["yolov5n", "yolov8n", "yolov10n"]
FLOAT16_BOUND = 2e-3  # of the outputs' range; 11 bits are 5e-4 of a value, and sums are float32


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


def small_convolutions():
    """Convolutions that give one pixel, over one and several input pixels, and one over a single number a pixel."""
    random = np.random.default_rng(5)
    shapes = {"w0": (32, 3, 3, 3), "w1": (32, 32, 3, 3), "w2": (48, 32, 1, 1), "w3": (1, 48, 1, 1), "w4": (32, 1, 1, 1)}
    weights = [
        numpy_helper.from_array((random.standard_normal(s) / np.prod(s[1:]) ** 0.5).astype("float32"), n)
        for n, s in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["images", "w0"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Conv", ["a", "w1"], ["b"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Conv", ["c", "w2"], ["d"]),
        helper.make_node("Conv", ["d", "w3"], ["e"]),
        helper.make_node("Conv", ["e", "w4"], ["output"]),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 4])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 32, 1, 1])]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("precision, bound", [("float32", 1e-5), ("float16", 5e-3)])
def test_convolutions_that_give_one_pixel(compile_emulated, precision, bound):
    model = small_convolutions()
    engine = compile_emulated(model, postprocess=None, preprocess=tz.Preprocess(), precision=precision)
    picture = np.random.default_rng(0).integers(0, 256, (4, 4, 3), np.uint8)
    found = engine(managed(picture))[0]
    blob = np.ascontiguousarray(picture[None, :, :, ::-1].transpose(0, 3, 1, 2)).astype("float32") / 255
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"images": blob})[0]
    np.testing.assert_allclose(found, expected, atol=bound * np.abs(expected).max())


@pytest.mark.parametrize("name", DETECTORS)
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


@pytest.mark.parametrize("name", MODELS)
def test_float16_is_near_float32(compile_emulated, name):
    model = build(name, size=SIZE, classes=3)
    engine = compile_emulated(model, postprocess=None, preprocess=tz.Preprocess(), precision="float16")
    picture = np.random.default_rng(1).integers(0, 256, (48, 80, 3), np.uint8)
    found = engine(managed(picture))[0]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    blob = network_input(picture, tz.Preprocess())
    expected = session.run(None, {session.get_inputs()[0].name: blob})[0]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= FLOAT16_BOUND * max(1.0, np.abs(expected).max())
    convolutions = {call["kernel"] for call in engine.program["calls"] if "conv2d" in call["kernel"]}
    assert len(convolutions) > 3
    assert emulator.sources[-1].count("mma_sync(") >= len(convolutions)


@pytest.mark.parametrize("precision", ["float16", pytest.param("float32", marks=ONLY_CHECKED)])
def test_the_embedded_model_finds_what_it_finds_on_the_cpu(compile_emulated, precision):
    """The embedded model on its own pictures: the same boxes within a pixel and scores within 0.01."""
    nms = tz.Nms(conf=0.4)
    engine = compile_emulated(str(embedded.model_path()), postprocess=nms, precision=precision)
    on_cpu = tz.compile(str(embedded.model_path()), postprocess=nms)
    picture = cv2.imread(str(embedded.sample_pictures()[0]))
    found, expected = engine(managed(picture)), on_cpu(picture)
    assert len(found.scores) == len(expected.scores) > 3
    for box, score, label in zip(expected.boxes, expected.scores, expected.classes):
        near = np.abs(found.boxes - box).max(axis=1) <= 1.0
        assert any(near & (found.classes == label) & (np.abs(found.scores - score) <= 0.01))
