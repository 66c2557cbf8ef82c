"""TopK against onnxruntime, alone and where YOLOv10 has it: in a model that ends in its best boxes."""

import numpy as np
import onnx
import onnxruntime
import pytest
from head_graphs import SIZE, yolov10
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

import tvm_zerocopy as tz


def by_onnxruntime(model, value):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: value})


def topk_model(shape, k, axis, largest, dtype):
    """images (1, 3, height, width) -> values, indices."""
    nodes = [
        helper.make_node("Mul", ["images", "levels"], ["many"]),
        helper.make_node("Floor", ["many"], ["few"]),  # so that values are equal
        helper.make_node("Cast", ["few"], ["data"], to=dtype),
        helper.make_node("TopK", ["data", "k"], ["values", "indices"], axis=axis, largest=largest),
    ]
    outputs = [
        helper.make_tensor_value_info("values", dtype, None),
        helper.make_tensor_value_info("indices", TensorProto.INT64, None),
    ]
    constants = [
        helper.make_tensor("levels", TensorProto.FLOAT, [], [7.0]),
        helper.make_tensor("k", TensorProto.INT64, [1], [k]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, *shape])
    graph = helper.make_graph(nodes, "topk", [image], outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 40)),
    st.integers(1, 50),
    st.integers(-4, 3),
    st.booleans(),
    st.sampled_from([TensorProto.FLOAT, TensorProto.INT32]),
    st.integers(0, 2**32 - 1),
)
def test_same_as_onnxruntime(shape, k, axis, largest, dtype, seed):
    k = min(k, (1, 3, *shape)[axis])
    model = topk_model(shape, k, axis, int(largest), dtype)
    # Preprocessing that changes nothing but the type, around zero: negative values, too.
    keep = tz.Preprocess(resize="stretch", scale=1.0, mean=(128.0, 128.0, 128.0), std=(32.0, 32.0, 32.0))
    engine = tz.compile(model, frame=tz.Frame("rgb8", *shape), preprocess=keep, postprocess=None)
    frame = np.random.default_rng(seed).integers(0, 256, (*shape, 3), np.uint8)
    image = ((frame.astype(np.float32) - 128) / 32).transpose(2, 0, 1)[None]
    for found, expected in zip(engine(frame), by_onnxruntime(model, image)):
        np.testing.assert_array_equal(found, expected)


def test_infinities_and_both_zeros_have_their_places():
    values = np.array([0.0, -0.0, np.inf, -np.inf, 1e-40, -1e-40, 3.0, -3.0, 0.0], np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["images"], ["zero"], keepdims=0),
        helper.make_node("Where", ["yes", "data", "zero"], ["added"]),
        helper.make_node("TopK", ["added", "k"], ["values", "indices"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 4, 4])
    outputs = [
        helper.make_tensor_value_info("values", TensorProto.FLOAT, [9]),
        helper.make_tensor_value_info("indices", TensorProto.INT64, [9]),
    ]
    constants = [
        onnx.numpy_helper.from_array(values, "data"),
        onnx.numpy_helper.from_array(np.ones(9, bool), "yes"),
        helper.make_tensor("k", TensorProto.INT64, [1], [9]),
    ]
    graph = helper.make_graph(nodes, "topk", [image], outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    engine = tz.compile(model, frame=tz.Frame("rgb8", 4, 4), postprocess=None)
    found, indices = engine(np.zeros((4, 4, 3), np.uint8))
    expected = np.argsort(-values.astype(np.float64), kind="stable")
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(found, values[expected])


@pytest.mark.parametrize("classes, cells", [(5, 84), (1, 84), (80, 300)])
def test_a_model_that_ends_in_its_best_boxes(classes, cells):
    """YOLOv10: no suppression; the engine gives what the model gives, above the threshold, in frame pixels."""
    graph, output = yolov10(20, classes, cells)
    graph.returns(output, 1, 20, 6)
    model, random = graph.to_onnx(), np.random.default_rng(0)
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 4:  # equal weights give equal scores
            weights = random.normal(size=tuple(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    frame = random.integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    (rows,) = by_onnxruntime(model, (frame.transpose(2, 0, 1)[None] / np.float32(255)).astype(np.float32))
    conf = float(np.float32(rows[0, 9:11, 4].mean()))
    engine = tz.compile(
        model, frame=tz.Frame("rgb8"), postprocess=tz.Nms(conf=conf), names=[str(c) for c in range(classes)]
    )
    detections = engine(frame)
    expected = rows[0][rows[0, :, 4] > conf]
    np.testing.assert_allclose(detections.scores, expected[:, 4], atol=1e-5)
    np.testing.assert_array_equal(detections.classes, expected[:, 5].astype(int))
    np.testing.assert_allclose(detections.boxes, np.clip(expected[:, :4], 0, SIZE), atol=1e-3)
