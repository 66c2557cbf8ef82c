"""The bfloat16 convolution against onnxruntime's on the same values, on each unit that this CPU has."""

import ctypes

import numpy as np
import onnxruntime
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from tvm.target import codegen

from tvm_zerocopy.passes import bfloat16
from tvm_zerocopy.passes.bfloat16_conv2d import AMX, AVX512_BF16, NEON_BF16, conv2d_bfloat16, pack_filter
from tvm_zerocopy.passes.configure_amx_tiles import ConfigureAmxTiles, configuration
from tvm_zerocopy.passes.lower_main import ARCH_REQ_XCOMP_PERM, SYS_ARCH_PRCTL, XFEATURE_XTILEDATA
from tvm_zerocopy.schedules.cpu.bfloat16_conv2d import Bfloat16Conv2d
from tvm_zerocopy.targets import resolve_target

TARGETS = {
    AMX: resolve_target("llvm -mcpu=sapphirerapids -num-cores=2"),
    AVX512_BF16: resolve_target("llvm -mcpu=cooperlake -num-cores=2"),
    NEON_BF16: resolve_target("llvm -mtriple=aarch64-linux-gnu -mcpu=neoverse-v1 -num-cores=2"),
}
FEATURES = {AMX: {"amx-tile", "amx-bf16"}, AVX512_BF16: {"avx512bf16"}, NEON_BF16: {"bf16"}}
INSTRUCTIONS = {AMX: ["ldtilecfg", "tdpbf16ps", "tilestored", "tilerelease"], AVX512_BF16: ["vdpbf16ps"]}
HERE = set(map(str, codegen.llvm_get_cpu_features(resolve_target("llvm"))))


def by_name(units):
    return [pytest.param(unit, id=unit.name) for unit in units]


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


def to_blocks(data, block):
    n, channels, height, width = data.shape
    padded = np.zeros((n, -(-channels // block) * block, height, width), "float32")
    padded[:, :channels] = data
    blocked = padded.reshape(n, -1, block, height, width).transpose(0, 1, 3, 4, 2)
    return bfloat16.to_bits(np.ascontiguousarray(blocked))


def scheduled(unit, func, tuning=False):
    found = Bfloat16Conv2d().apply(func.with_attr("global_symbol", "main"), TARGETS[unit], tuning)
    return [ConfigureAmxTiles()(sch.mod)["main"] for sch in (found if tuning else [found])]


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


@pytest.mark.parametrize("unit", by_name(TARGETS))
@settings(deadline=None, derandomize=True, max_examples=12, suppress_health_check=list(HealthCheck))
@given(convolutions())
def test_equals_onnxruntime_on_the_same_bfloat16_values(unit, case):
    if not FEATURES[unit] <= HERE:
        pytest.skip(f"this CPU has no {unit.name}")
    if unit is AMX:
        ask_linux_for_tiles()
    shape, (out_channels, channels, size), stride, padding = case
    data, weight = bfloat16_values(shape, 0), bfloat16_values((out_channels, channels, size, size), 1)
    expected = onnxruntime_conv(data, weight, [stride, stride], padding)
    block = 4 if channels <= 4 else unit.channels
    bits, packed = to_blocks(data, block), pack_filter(weight, block, unit)
    window = expected.shape[2:], (stride, stride), tuple(padding)
    func = conv2d_bfloat16(unit, bits.shape, packed.shape, *window)
    for variant in scheduled(unit, func, tuning=size == 3):
        out = tvm.runtime.tensor(np.zeros((1, packed.shape[0], *expected.shape[2:], unit.channels), "float32"))
        tvm.compile(variant, TARGETS[unit])(tvm.runtime.tensor(bits), tvm.runtime.tensor(packed), out)
        got = out.numpy().transpose(0, 1, 4, 2, 3).reshape(1, -1, *expected.shape[2:])[:, :out_channels]
        assert np.abs(got - expected).max() <= 1e-5 * max(1.0, np.abs(expected).max()) * channels


@pytest.mark.parametrize("unit", by_name(TARGETS))
def test_builds_for_a_cpu_that_is_not_here(unit):
    """AMX's tiles are configured in each task; a dot product is the instruction itself, its sums in registers."""
    block = unit.channels
    packed = pack_filter(bfloat16_values((64, 64, 3, 3), 0), block, unit)
    func = conv2d_bfloat16(unit, (1, 64 // block, 20, 20, block), packed.shape, (20, 20), (1, 1), (1, 1, 1, 1))
    (ready,) = scheduled(unit, func)
    assembly = tvm.compile(ready, TARGETS[unit]).mod.inspect_source("asm")
    for instruction in INSTRUCTIONS.get(unit, ["bfdot"]):
        assert instruction in assembly
    assert "tz_bfloat16_dot" not in assembly


@pytest.mark.parametrize(
    ("width", "pixels"), [(320, 16), (80, 16), (40, 10), (20, 10), (19, 10), (13, 13), (7, 7), (1, 1), (34, 12)]
)
def test_tiles_share_a_row_of_pixels_evenly(width, pixels):
    assert AMX.pixels(width) == pixels


def test_configuration_is_ldtilecfgs_layout():
    memory = np.array(configuration(10), "int64").tobytes()
    assert memory[0] == 1
    assert list(np.frombuffer(memory[16:32], "uint16")) == [64] * 8
    assert list(memory[48:56]) == [10] * 6 + [16] * 2


@pytest.mark.parametrize("unit", by_name(TARGETS))
def test_packed_filter_multiplies_as_the_plain_one_does(unit):
    lanes, block = unit.lanes, unit.channels
    weight = bfloat16_values((48, 40, 2, 3), 3)
    packed = bfloat16.from_bits(pack_filter(weight, block, unit))
    out_blocks, in_blocks = -(-48 // block), -(-40 // block)
    assert packed.shape == (out_blocks, in_blocks, 2, 3, 2, lanes, unit.depth)
    pixel = np.zeros(in_blocks * block, "float32")
    pixel[:40] = bfloat16_values((40,), 4)
    rows = pixel.reshape(in_blocks, lanes, 1, 2)
    # out block, in block, half, row, out channel, pair
    tiles = packed[:, :, 1, 2].reshape(out_blocks, in_blocks, 2, lanes, lanes, 2)
    got = np.einsum("birkop,ikxp->birko", tiles, rows).sum(axis=(1, 3)).reshape(-1)
    np.testing.assert_allclose(got[:48], weight[:, :, 1, 2] @ pixel[:40], rtol=1e-5, atol=1e-5)
    assert not got[48:].any()
