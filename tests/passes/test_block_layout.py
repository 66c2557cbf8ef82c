"""Blocked graphs compute what onnxruntime computes, with weights packed and conversions at the edges only."""

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from tvm_zerocopy.passes import float_math
from tvm_zerocopy.passes.apply_schedules import ApplySchedules
from tvm_zerocopy.passes.block_layout import BlockLayout
from tvm_zerocopy.schedules import cpu
from tvm_zerocopy.targets import resolve_target

TARGET = resolve_target("llvm")
SETTINGS = {"deadline": None, "derandomize": True, "suppress_health_check": list(HealthCheck)}


def graph(nodes, inputs, outputs, constants):
    """A checked ONNX model; inputs {name: shape}, constants {name: array}."""
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        ir_version=8,
    )
    return onnx.shape_inference.infer_shapes(model)


def blocked(model, block=None, winograd=True):
    block = block or cpu.machine_of(TARGET).lanes
    mod = from_onnx(model, keep_params_in_input=False)
    prepare = [relax.transform.DecomposeOpsForInference(), relax.transform.FoldConstant(), BlockLayout(block, winograd)]
    return tvm.transform.Sequential(prepare)(mod)


def compiled(mod):
    with TARGET:
        mod = tvm.transform.Sequential(
            [
                relax.transform.LegalizeOps(float_math.LEGALIZATIONS, skip_ops=["relax.concat", "relax.split"]),
                relax.transform.AnnotateTIROpPattern(),
                relax.transform.FoldConstant(),
                relax.transform.FuseOps(),
                relax.transform.FuseTIR(),
                relax.transform.LegalizeOps(),
                relax.transform.DeadCodeElimination(),
                ApplySchedules(cpu.rules(), TARGET),
            ]
        )(mod)
        program = tvm.compile(mod, target=TARGET)
    return relax.VirtualMachine(program, tvm.cpu())


def assert_same_as_onnxruntime(model, tolerance=1e-4, **how):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    feeds = {i.name: generator.standard_normal(i.shape, dtype="float32") for i in session.get_inputs()}
    expected = session.run(None, feeds)
    result = compiled(blocked(model, **how))["main"](*map(tvm.runtime.tensor, feeds.values()))
    results = [result] if hasattr(result, "numpy") else list(result)
    for got, want in zip(results, expected):
        assert got.numpy().shape == want.shape
        assert np.abs(got.numpy() - want).max() <= tolerance * max(1.0, np.abs(want).max())


def calls(mod):
    """Names of what main calls, in order."""
    names = []

    def visit(node):
        if isinstance(node, relax.Call) and isinstance(node.op, tvm.ir.Op):
            names.append(node.args[0].name_hint if node.op.name == "relax.call_tir" else node.op.name)

    relax.analysis.post_order_visit(mod["main"], visit)
    return names


def weights(shape, seed=1):
    scale = np.float32(np.prod(shape[1:]) ** -0.5)
    return np.random.default_rng(seed).standard_normal(shape, dtype="float32") * scale


@st.composite
def convolutions(draw):
    kernel = draw(st.sampled_from([1, 2, 3, 5]))
    dilation = draw(st.sampled_from([1, 1, 2])) if kernel > 1 else 1
    group_in, group_out, groups = draw(
        st.sampled_from(
            [
                (3, 16, 1),
                (16, 16, 1),
                (20, 33, 1),
                (48, 64, 1),
                (1, 1, 24),
                (16, 32, 2),
                (3, 5, 4),
                (32, 7, 1),
                (1, 1, 5),
            ]
        )
    )
    height, width = draw(st.integers(9, 21)), draw(st.integers(9, 21))
    pads = [draw(st.integers(0, 2)) for _ in range(4)]
    strides = [draw(st.sampled_from([1, 1, 2, 3])) for _ in range(2)]
    return kernel, dilation, group_in, group_out, groups, height, width, pads, strides, draw(st.sampled_from([1, 2]))


@settings(max_examples=25, **SETTINGS)
@given(convolutions(), st.sampled_from(["", "Relu", "Sigmoid", "silu", "residual"]))
def test_any_convolution_equals_onnxruntime(convolution, epilogue):
    kernel, dilation, group_in, group_out, groups, height, width, pads, strides, batch = convolution
    constants = {"w": weights((group_out * groups, group_in, kernel, kernel)), "b": weights((group_out * groups,), 2)}
    attributes = {"pads": pads, "strides": strides, "dilations": [dilation] * 2, "group": groups}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], **attributes)]
    if epilogue in ("Relu", "Sigmoid"):
        nodes.append(helper.make_node(epilogue, ["c"], ["y"]))
    elif epilogue == "silu":
        nodes += [helper.make_node("Sigmoid", ["c"], ["s"]), helper.make_node("Mul", ["c", "s"], ["y"])]
    elif epilogue == "residual":
        nodes += [helper.make_node("Tanh", ["c"], ["t"]), helper.make_node("Add", ["t", "c"], ["y"])]
    else:
        nodes.append(helper.make_node("Identity", ["c"], ["y"]))
    inputs = {"x": [batch, group_in * groups, height, width]}
    assert_same_as_onnxruntime(graph(nodes, inputs, ["y"], constants))


@settings(max_examples=8, **SETTINGS)
@given(
    st.integers(16, 27), st.integers(16, 27), st.sampled_from([(32, 32), (33, 48), (64, 40)]),
    st.lists(st.integers(0, 2), min_size=4, max_size=4), st.sampled_from([1, 2]),
)  # fmt: skip
def test_winograd_equals_onnxruntime(height, width, channels, pads, batch):
    height, width = height + 2, width + 2
    constants = {"w": weights((channels[1], channels[0], 3, 3)), "b": weights((channels[1],), 2)}
    nodes = [helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=pads), helper.make_node("Relu", ["c"], ["y"])]
    model = graph(nodes, {"x": [batch, channels[0], height, width]}, ["y"], constants)
    assert "conv2d_winograd" in calls(blocked(model))
    assert_same_as_onnxruntime(model)


@settings(max_examples=8, **SETTINGS)
@given(
    st.integers(35, 50), st.integers(64, 70), st.sampled_from([(32, 32), (33, 48), (64, 40)]),
    st.lists(st.integers(0, 2), min_size=4, max_size=4), st.sampled_from([1, 2]),
)  # fmt: skip
def test_strided_winograd_equals_onnxruntime(height, width, channels, pads, batch):
    constants = {"w": weights((channels[1], channels[0], 3, 3)), "b": weights((channels[1],), 2)}
    conv = helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=pads, strides=[2, 2])
    model = graph(
        [conv, helper.make_node("Relu", ["c"], ["y"])], {"x": [batch, channels[0], height, width]}, ["y"], constants
    )
    assert "conv2d_winograd_strided" in calls(blocked(model))
    assert_same_as_onnxruntime(model)


@pytest.mark.parametrize("strides", [[1, 1], [2, 2]])
def test_winograd_can_be_switched_off(strides):
    model = graph(
        [helper.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4, strides=strides)],
        {"x": [1, 32, 32, 32]},
        ["y"],
        {"w": weights((32, 32, 3, 3))},
    )
    assert not any("winograd" in name for name in calls(blocked(model, winograd=False)))
    assert_same_as_onnxruntime(model, winograd=False, tolerance=1e-5)


def detector_like():
    """Stem, pool, residual, up-sampling, concatenation, split and a head with 21 channels."""
    conv = {"pads": [1] * 4}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], **conv),
        helper.make_node("Add", ["b", "c"], ["d"]),
        helper.make_node("MaxPool", ["d"], ["e"], kernel_shape=[5, 5], pads=[2] * 4),
        helper.make_node("MaxPool", ["e"], ["f"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Resize", ["f", "", "scales"], ["g"], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"),
        helper.make_node("Concat", ["g", "d"], ["h"], axis=1),
        helper.make_node("Split", ["h", "parts"], ["i", "j"], axis=1),
        helper.make_node("Mul", ["j", "scale"], ["k"]),
        helper.make_node("Concat", ["k", "i"], ["l"], axis=1),
        helper.make_node("Conv", ["l", "w2", "b2"], ["y"]),
    ]  # fmt: skip
    constants = {
        "w0": weights((32, 3, 3, 3)),
        "w1": weights((32, 32, 3, 3), 2),
        "w2": weights((21, 64, 1, 1), 3),
        "b2": weights((21,), 4),
        "scale": weights((1, 48, 1, 1), 5),
        "scales": np.array([1, 1, 2, 2], "float32"),
        "parts": np.array([16, 48], "int64"),
    }
    return graph(nodes, {"x": [1, 3, 32, 48]}, ["y"], constants)


def test_layouts_change_at_the_edges_only():
    names = calls(blocked(detector_like(), block=16))
    assert not any(name.startswith("to_blocked") for name in names)
    assert [name for name in names if name.startswith("from_blocked")] == [names[-1]]
    assert "relax.concat" in names and "relax.split" in names
    assert not any(name in ("relax.layout_transform", "relax.permute_dims", "relax.reshape") for name in names)


@pytest.mark.parametrize("block", [4, 8, 16])
def test_whole_graph_equals_onnxruntime(block):
    assert_same_as_onnxruntime(detector_like(), block=block)


@settings(max_examples=10, **SETTINGS)
@given(
    st.sampled_from(["MaxPool", "AveragePool"]), st.sampled_from([2, 3, 5]), st.sampled_from([1, 2, 3]),
    st.booleans(), st.booleans(), st.integers(7, 15),
)  # fmt: skip
def test_pooling_equals_onnxruntime(kind, kernel, stride, ceil_mode, count_include_pad, size):
    pads = [kernel // 2, 0, kernel // 2, kernel // 2]
    attributes = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": pads, "ceil_mode": int(ceil_mode)}
    if kind == "AveragePool":
        attributes["count_include_pad"] = int(count_include_pad)
        attributes["ceil_mode"] = 0  # onnxruntime and the ONNX standard disagree on what ceil mode averages over
    nodes = [helper.make_node("Conv", ["x", "w"], ["c"]), helper.make_node(kind, ["c"], ["y"], **attributes)]
    model = graph(nodes, {"x": [1, 16, size, size + 1]}, ["y"], {"w": weights((16, 16, 1, 1))})
    assert_same_as_onnxruntime(model)


def test_classifier_end_equals_onnxruntime():
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("GlobalAveragePool", ["c"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "d", "b"], ["g"], transB=1),
        helper.make_node("Softmax", ["g"], ["y"], axis=1),
    ]
    constants = {"w": weights((40, 16, 1, 1)), "d": weights((10, 40), 2), "b": weights((10,), 3)}
    assert_same_as_onnxruntime(graph(nodes, {"x": [2, 16, 7, 7]}, ["y"], constants))


def test_channels_that_do_not_fill_blocks_are_joined_and_taken_apart_blocked():
    """A concatenation of 8 + 24 + 5 channels, and a split of it at 8 and 20."""
    lanes = cpu.machine_of(TARGET).lanes
    widths = (lanes // 2, lanes + lanes // 2, 5)
    nodes = [helper.make_node("Conv", ["x", f"w{i}"], [f"c{i}"]) for i in range(3)]
    nodes += [helper.make_node("Relu", [f"c{i}"], [f"r{i}"]) for i in range(3)]
    nodes.append(helper.make_node("Concat", ["r0", "r1", "r2"], ["joined"], axis=1))
    nodes.append(helper.make_node("Split", ["joined", "parts"], ["a", "b", "c"], axis=1))
    nodes += [helper.make_node("Conv", [name, f"v{name}"], [f"out_{name}"]) for name in "abc"]
    parts = (lanes // 2, lanes - 4, sum(widths) - lanes // 2 - (lanes - 4))
    constants = {f"w{i}": weights((width, lanes, 1, 1), i) for i, width in enumerate(widths)}
    constants.update({f"v{name}": weights((lanes, width, 1, 1), width) for name, width in zip("abc", parts)})
    constants["parts"] = np.array(parts, "int64")
    model = graph(nodes, {"x": (1, lanes, 5, 6)}, ["out_a", "out_b", "out_c"], constants)
    assert_same_as_onnxruntime(model)
    names = calls(blocked(model))
    assert sum(name.startswith("concat_channels") for name in names) == 1
    assert sum(name.startswith("slice_channels") for name in names) == 3
    assert sum(name.startswith("from_blocked") for name in names) == 3


@pytest.mark.parametrize("width", [6, 16])
def test_levels_of_a_head_leave_their_blocks_flat(width):
    """As in YOLOv8's head: each level's pixels on one axis, then all levels one after another."""
    sizes, nodes, constants = ((4, width), (3, 5)), [], {"shape": np.array([0, 0, -1], "int64")}
    for i in range(len(sizes)):
        constants[f"w{i}"] = weights((21, 16, 1, 1), i)
        nodes.append(helper.make_node("Conv", [f"x{i}", f"w{i}"], [f"c{i}"]))
        nodes.append(helper.make_node("Reshape", [f"c{i}", "shape"], [f"f{i}"]))
    nodes.append(helper.make_node("Concat", ["f0", "f1"], ["y"], axis=2))
    model = graph(nodes, {f"x{i}": (2, 16, *size) for i, size in enumerate(sizes)}, ["y"], constants)
    assert_same_as_onnxruntime(model)
    names = calls(blocked(model))
    assert sum(name.startswith("from_blocked_flat") for name in names) == 2 and "relax.reshape" not in names
