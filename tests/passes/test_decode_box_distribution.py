"""The expectation of a box's bins is what onnxruntime makes of it as a convolution; other convolutions stay."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from tvm_zerocopy.passes.decode_box_distribution import DecodeBoxDistribution


def exported(batch=2, sides=4, bins=16, boxes=21, axes=(0, 2, 1, 3), axis=1, weight=None, **convolution):
    """Softmax and convolution over bins, as exporters write them."""
    weight = np.arange(bins, dtype="float32").reshape(1, bins, 1, 1) if weight is None else weight
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=axes),
        helper.make_node("Softmax", ["t"], ["s"], axis=axis),
        helper.make_node("Conv", ["s", "w"], ["y"], **convolution),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, sides, bins, boxes])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def decoded(model):
    return DecodeBoxDistribution()(from_onnx(model, keep_params_in_input=False))


def operators(mod):
    found = []
    relax.analysis.post_order_visit(
        mod["main"], lambda node: found.append(node.op.name) if isinstance(node, relax.Call) else None
    )
    return found


@settings(deadline=None, derandomize=True, max_examples=8)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 17), st.integers(1, 40), st.sampled_from([1, 20]))
def test_equals_onnxruntime(batch, sides, bins, boxes, scale):
    model = exported(batch, sides, bins, boxes)
    mod = decoded(model)
    assert not {"relax.nn.conv2d", "relax.permute_dims"} & set(operators(mod))
    x = scale * np.random.default_rng(0).standard_normal((batch, sides, bins, boxes), dtype="float32")
    vm = relax.VirtualMachine(tvm.compile(mod, target="llvm"), tvm.cpu())
    (expected,) = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    np.testing.assert_allclose(vm["main"](tvm.runtime.tensor(x)).numpy(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "other",
    [
        {"axis": 2},
        {"axes": (0, 2, 3, 1)},
        {"weight": np.ones((2, 16, 1, 1), "float32")},
        {"weight": np.ones((1, 16, 1, 3), "float32")},
        {"strides": [1, 2]},
        {"pads": [0, 1, 0, 1]},
    ],
    ids=str,
)
def test_other_convolutions_stay(other):
    assert "relax.nn.conv2d" in operators(decoded(exported(**other)))


def test_a_convolution_of_something_else_stays():
    model = exported()
    model.graph.node[1].op_type = "Relu"
    del model.graph.node[1].attribute[:]
    assert "relax.nn.conv2d" in operators(decoded(model))
