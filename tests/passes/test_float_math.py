"""The vectorizable exponential and its relatives against numpy in double precision."""

import numpy as np
import pytest
import tvm
from tvm import te

from tvm_zerocopy.passes import float_math
from tvm_zerocopy.targets import resolve_target

REFERENCES = {
    float_math.exp: np.exp,
    float_math.sigmoid: lambda x: 1 / (1 + np.exp(-x)),
    float_math.silu: lambda x: x / (1 + np.exp(-x)),
    float_math.tanh: np.tanh,
}


def evaluate(function, x):
    data = te.placeholder(x.shape, name="data")
    kernel = tvm.compile(
        te.create_prim_func([data, te.compute(x.shape, lambda i: function(data[i]))]), target=resolve_target("llvm")
    )
    out = tvm.runtime.tensor(np.zeros_like(x))
    kernel(tvm.runtime.tensor(x), out)
    return out.numpy()


@pytest.mark.parametrize("function", REFERENCES, ids=lambda f: f.__name__)
def test_error_is_a_few_units_in_the_last_place(function):
    x = np.concatenate([np.linspace(-86, 86, 200_001), np.linspace(-1, 1, 100_001)]).astype("float32")
    expected = REFERENCES[function](x.astype("float64"))
    error = np.abs(evaluate(function, x) - expected) / np.maximum(np.abs(expected), 1e-37)
    assert error.max() < 3.5e-7


def test_ends_saturate_without_nan():
    x = np.array([-np.inf, -1e30, -200, 200, 1e30, np.inf], "float32")
    assert np.isfinite(evaluate(float_math.exp, x)).all()
    np.testing.assert_allclose(evaluate(float_math.sigmoid, x), [0, 0, 0, 1, 1, 1], atol=1e-37)
    np.testing.assert_array_equal(evaluate(float_math.tanh, x), [-1, -1, -1, 1, 1, 1])
