"""bfloat16 bits against onnx's own conversion."""

import numpy as np
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tvm import te

from tvm_zerocopy.passes import bfloat16
from tvm_zerocopy.targets import resolve_target

FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False, min_value=-(2.0**127), max_value=2.0**127)


def onnx_bits(values):
    tensor = helper.make_tensor("x", TensorProto.BFLOAT16, [len(values)], values)
    return numpy_helper.to_array(tensor).view("uint16")


def run(compute, array, dtype):
    data = te.placeholder(array.shape, name="data", dtype=str(array.dtype))
    kernel = tvm.compile(te.create_prim_func([data, compute(data)]), target=resolve_target("llvm"))
    out = tvm.runtime.tensor(np.zeros(array.shape, dtype))
    kernel(tvm.runtime.tensor(array), out)
    return out.numpy()


@settings(deadline=None, derandomize=True)
@given(st.lists(FLOATS, min_size=1, max_size=50))
def test_bits_are_the_nearest_bfloat16(values):
    array = np.array(values, "float32")
    np.testing.assert_array_equal(bfloat16.to_bits(array), onnx_bits(array))


def test_kernels_do_what_numpy_does():
    array = np.random.default_rng(0).normal(scale=100, size=1000).astype("float32")
    bits = run(bfloat16.pack, array, "uint16")
    np.testing.assert_array_equal(bits, bfloat16.to_bits(array))
    np.testing.assert_array_equal(run(bfloat16.unpack, bits, "float32"), bfloat16.from_bits(bits))


def test_bits_come_back_as_they_were():
    bits = np.arange(0x7F80, dtype="uint16")
    np.testing.assert_array_equal(bfloat16.to_bits(bfloat16.from_bits(bits)), bits)
