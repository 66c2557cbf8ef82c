"""The AMX convolution against onnxruntime's on the same bfloat16 values; it is run where the CPU has AMX."""

import ctypes

import numpy as np
import onnxruntime
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tvm_zerocopy.passes import amx_ops, bfloat16
from tvm_zerocopy.passes.configure_amx_tiles import ConfigureAmxTiles, configuration
from tvm_zerocopy.passes.lower_main import ARCH_REQ_XCOMP_PERM, SYS_ARCH_PRCTL, XFEATURE_XTILEDATA
from tvm_zerocopy.schedules.cpu.amx import AmxConv2d
from tvm_zerocopy.schedules.cpu.machine import machine_of
from tvm_zerocopy.targets import resolve_target

TARGET = resolve_target("llvm -mcpu=sapphirerapids -num-cores=2")
needs_amx = pytest.mark.skipif(not machine_of(resolve_target("llvm")).amx, reason="this CPU has no AMX")


def bfloat16_values(shape, seed):
    array = np.random.default_rng(seed).standard_normal(shape, dtype="float32")
    return bfloat16.from_bits(bfloat16.to_bits(array))


def onnxruntime_conv(data, weight, strides, padding):
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=strides, pads=padding)
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in (("x", data), ("w", weight))]
    graph = helper.make_graph([node], "g", values, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": data, "w": weight})[0]


def to_lanes(data, lanes):
    n, channels, height, width = data.shape
    padded = np.zeros((n, -(-channels // lanes) * lanes, height, width), "float32")
    padded[:, :channels] = data
    blocked = padded.reshape(n, -1, lanes, height, width).transpose(0, 1, 3, 4, 2)
    return bfloat16.to_bits(np.ascontiguousarray(blocked))


def kernel(data_shape, weight, lanes, out_size, strides, padding):
    packed = amx_ops.pack_filter(weight, lanes)
    return amx_ops.conv2d_amx(data_shape, packed.shape, out_size, strides, padding), packed


def scheduled(func, tuning=False):
    found = AmxConv2d().apply(func.with_attr("global_symbol", "main"), TARGET, tuning)
    return [ConfigureAmxTiles()(sch.mod)["main"] for sch in (found if tuning else [found])]


def build(func):
    return tvm.compile(func, target=TARGET)


@st.composite
def convolutions(draw):
    size, stride = draw(st.integers(1, 40)), draw(st.sampled_from([1, 2]))
    width, height_filter = draw(st.integers(1, 70)), draw(st.sampled_from([1, 2, 3, 5, 6, 7]))
    channels = draw(st.sampled_from([1, 3, 4, 8, 32, 40, 64]))
    padding = [draw(st.integers(0, 3)) for _ in range(4)]
    size = max(size, height_filter - padding[0] - padding[2])
    width = max(width, height_filter - padding[1] - padding[3])
    return (
        (1, channels, size, width),
        (draw(st.sampled_from([1, 16, 32, 48])), channels, height_filter),
        stride,
        padding,
    )


def ask_linux_for_tiles():
    assert ctypes.CDLL(None).syscall(SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0


@needs_amx
@settings(deadline=None, derandomize=True, max_examples=12, suppress_health_check=list(HealthCheck))
@given(convolutions())
def test_equals_onnxruntime_on_the_same_bfloat16_values(case):
    shape, (out_channels, channels, size), stride, padding = case
    ask_linux_for_tiles()
    data, weight = bfloat16_values(shape, 0), bfloat16_values((out_channels, channels, size, size), 1)
    expected = onnxruntime_conv(data, weight, [stride, stride], padding)
    lanes = 4 if channels <= 4 else 32
    bits = to_lanes(data, lanes)
    func, packed = kernel(bits.shape, weight, lanes, expected.shape[2:], (stride, stride), padding)
    for variant in scheduled(func, tuning=size == 3):
        out = tvm.runtime.tensor(np.zeros((1, packed.shape[0], *expected.shape[2:], 32), "float32"))
        build(variant)(tvm.runtime.tensor(bits), tvm.runtime.tensor(packed), out)
        got = out.numpy().transpose(0, 1, 4, 2, 3).reshape(1, -1, *expected.shape[2:])[:, :out_channels]
        assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max()) * channels


def test_builds_for_any_x86_with_tiles_configured_in_each_task():
    weight = bfloat16_values((64, 64, 3, 3), 0)
    func, _ = kernel((1, 2, 20, 20, 32), weight, 32, (20, 20), (1, 1), (1, 1, 1, 1))
    (ready,) = scheduled(func)
    assembly = build(ready).mod.inspect_source("asm")
    for instruction in ("ldtilecfg", "tdpbf16ps", "tilestored", "tilerelease"):
        assert instruction in assembly


@pytest.mark.parametrize(
    ("width", "rows"), [(320, 16), (80, 16), (40, 10), (20, 10), (19, 10), (13, 13), (7, 7), (1, 1), (34, 12)]
)
def test_rows_of_a_tile_share_a_row_of_pixels_evenly(width, rows):
    assert amx_ops.tile_rows(width) == rows


def test_configuration_is_ldtilecfgs_layout():
    memory = np.array(configuration(10), "int64").tobytes()
    assert memory[0] == 1
    assert list(np.frombuffer(memory[16:32], "uint16")) == [64] * 8
    assert list(memory[48:56]) == [10] * 6 + [16] * 2


def test_packed_filter_multiplies_as_the_plain_one_does():
    weight = bfloat16_values((48, 40, 2, 3), 3)
    packed = bfloat16.from_bits(amx_ops.pack_filter(weight, 32))
    assert packed.shape == (2, 2, 2, 3, 2, 16, 32)
    pixel = bfloat16_values((64,), 4)
    rows = pixel.reshape(2, 16, 1, 2)
    tiles = packed[:, :, 1, 2].reshape(2, 2, 2, 16, 16, 2)  # out block, in block, half, row, out channel, pair
    got = np.einsum("birkop,ikxp->birko", tiles, rows).sum(axis=(1, 3)).reshape(-1)
    np.testing.assert_allclose(got[:48], weight[:, :, 1, 2] @ pixel[:40], rtol=1e-5, atol=1e-5)
    assert not got[48:].any()
