"""Shape arithmetic is folded exactly: onnxruntime gives the same outputs, and TVM's importer takes the model."""

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.onnx_fold import fold_shapes


def constant(name, value):
    return helper.make_node("Constant", [], [name], name=name, value=numpy_helper.from_array(np.array(value)))


def unsimplified(batch, height, width):
    """What exporters write: resize to half of the run-time size, a grid from Range, and reshape by Shape entries."""
    nodes = [
        constant("weight", np.linspace(-1, 1, 4 * 3 * 3 * 3, dtype=np.float32).reshape(4, 3, 3, 3)),
        helper.make_node("Conv", ["images", "weight"], ["features"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Shape", ["features"], ["shape"]),
        constant("zero", np.int64(0)),
        constant("two", np.int64(2)),
        constant("three", np.int64(3)),
        constant("axis0", np.array([0])),
        constant("axis1", np.array([1])),
        helper.make_node("Gather", ["shape", "zero"], ["n"]),
        helper.make_node("Gather", ["shape", "two"], ["h"]),
        helper.make_node("Gather", ["shape", "three"], ["w"]),
        helper.make_node("Mul", ["h", "w"], ["cells"]),
        helper.make_node("Range", ["zero", "w", "one"], ["xs"]),
        constant("one", np.int64(1)),
        helper.make_node("Cast", ["xs"], ["grid"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["features", "grid"], ["placed"]),
        helper.make_node("Unsqueeze", ["n", "axis0"], ["n1"]),
        constant("minus", np.array([-1])),
        helper.make_node("Unsqueeze", ["cells", "axis0"], ["cells1"]),
        helper.make_node("Concat", ["n1", "minus", "cells1"], ["target"], axis=0),
        helper.make_node("Reshape", ["placed", "target"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["out"], perm=[0, 2, 1]),
    ]
    nodes.sort(key=lambda node: node.op_type != "Constant")
    graph = helper.make_graph(
        nodes,
        "unsimplified",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, height, width])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model, image):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"images": image})


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 2), height=st.integers(1, 20), width=st.integers(1, 20))
def test_folding_changes_no_output(batch, height, width):
    model = unsimplified(batch, height, width)
    folded = fold_shapes(model)
    kinds = [node.op_type for node in folded.graph.node]
    assert kinds == ["Conv", "Add", "Reshape", "Transpose"]
    onnx.checker.check_model(folded)
    image = np.random.default_rng(height).random((batch, 3, height, width), dtype=np.float32)
    for before, after in zip(run(model, image), run(folded, image)):
        np.testing.assert_array_equal(before, after)


def test_unsimplified_models_import():
    imported = import_onnx(unsimplified(1, 16, 24))
    shape = imported.module["main"].ret_ty.shape
    assert [int(extent) for extent in shape] == [1, 16 * 24, 4]


def test_a_model_without_shape_arithmetic_is_left_alone():
    folded = fold_shapes(unsimplified(1, 8, 8))
    assert fold_shapes(folded) is folded


def test_the_model_given_is_not_changed():
    model = unsimplified(1, 8, 8)
    before = model.SerializeToString()
    fold_shapes(model)
    assert model.SerializeToString() == before


def test_constants_that_are_outputs_stay():
    model = unsimplified(1, 8, 8)
    model.graph.output.append(helper.make_tensor_value_info("shape", TensorProto.INT64, [4]))
    image = np.zeros((1, 3, 8, 8), np.float32)
    assert run(fold_shapes(model), image)[1].tolist() == [1, 4, 8, 8]


@pytest.mark.parametrize("kind", ["RandomNormalLike", "RandomUniformLike"])
def test_random_values_are_not_frozen(kind):
    model = unsimplified(1, 4, 4)
    model.graph.node.insert(0, helper.make_node(kind, ["one_float"], ["noise"]))
    model.graph.node.insert(0, constant("one_float", np.ones((1,), np.float32)))
    model.graph.output.append(helper.make_tensor_value_info("noise", TensorProto.FLOAT, [1]))
    assert kind in [node.op_type for node in fold_shapes(model).graph.node]
