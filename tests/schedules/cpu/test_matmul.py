"""Matrix products of any size: what the rules make of them against numpy."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import te

from tvm_zerocopy.schedules import cpu
from tvm_zerocopy.schedules.cpu import Fallback, Matmul
from tvm_zerocopy.targets import resolve_target

TARGET = resolve_target("llvm")
LANES = cpu.machine_of(TARGET).lanes


def matmul(batch, rows, depth, columns, scaled=False, transposed=False):
    a = te.placeholder((*batch, rows, depth), name="a")
    b = te.placeholder((*batch, *((columns, depth) if transposed else (depth, columns))), name="b")
    k = te.reduce_axis((0, depth), "k")

    def element(*index):
        *n, i, j = index
        return te.sum(a[(*n, i, k)] * b[(*n, *((j, k) if transposed else (k, j)))], axis=k)

    out = te.compute((*batch, rows, columns), element, name="matmul")
    result = (
        te.compute(out.shape, lambda *i: out(*i) * np.float32(0.5) + a[(*i[:-1], 0)], name="out") if scaled else out
    )
    return te.create_prim_func([a, b, result])


def check(func, mod, scaled, transposed):
    random = np.random.default_rng(0)
    a, b = (random.standard_normal([int(side) for side in p.shape], "float32") for p in func.params[:2])
    found = tvm.runtime.empty([int(side) for side in func.params[2].shape], "float32")
    tvm.compile(mod, TARGET)["main"](tvm.runtime.tensor(a), tvm.runtime.tensor(b), found)
    expected = a @ (np.swapaxes(b, -1, -2) if transposed else b)
    expected = expected * 0.5 + a[..., :1] if scaled else expected
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([(), (1,), (3,), (2, 2)]),
    st.integers(1, 40),
    st.integers(1, 70),
    st.integers(1, 9),
    st.booleans(),
)
def test_whole_vectors_of_columns(batch, rows, depth, vectors, scaled):
    func = matmul(batch, rows, depth, vectors * LANES, scaled)
    schedule = Matmul().apply(func, TARGET)
    assert schedule is not None
    check(func, schedule.mod, scaled, False)


@pytest.mark.parametrize("columns, transposed", [(LANES + 1, False), (2 * LANES, True)])
def test_other_products_are_left_to_other_rules(columns, transposed):
    func = matmul((2,), 5, 7, columns, transposed=transposed)
    assert Matmul().apply(func, TARGET) is None
    check(func, Fallback().apply(func, TARGET).mod, False, transposed)
