"""Activations behind rearrangements move before them, and nothing else changes."""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_zerocopy.passes.hoist_elementwise import HoistElementwise


@I.ir_module
class Head:
    @R.function
    def main(x: R.Tensor((1, 6, 4, 5), "float32")) -> R.Tensor((1, 2, 4, 5, 3), "float32"):
        with R.dataflow():
            bias = R.add(x, R.const(0.5, "float32"))
            rows = R.reshape(bias, (1, 2, 3, 4, 5))
            last = R.permute_dims(rows, [0, 1, 3, 4, 2])
            out = R.sigmoid(last)
            R.output(out)
        return out


@I.ir_module
class Shared:
    @R.function
    def main(x: R.Tensor((1, 6, 4, 5), "float32")) -> R.Tensor((1, 6, 5, 4), "float32"):
        with R.dataflow():
            turned = R.permute_dims(x, [0, 1, 3, 2])
            out = R.multiply(turned, R.sigmoid(turned))
            R.output(out)
        return out


def operators(module):
    found = []
    relax.analysis.post_order_visit(
        module["main"], lambda e: found.append(e.op.name) if isinstance(e, relax.Call) else None
    )
    return found


def run(module, x):
    vm = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    return vm["main"](tvm.runtime.tensor(x)).numpy()


def test_activation_stands_before_the_rearrangements():
    after = operators(HoistElementwise()(Head))
    assert after == ["relax.add", "relax.sigmoid", "relax.reshape", "relax.permute_dims"]


@pytest.mark.parametrize("module", [Head, Shared])
def test_values_stay_the_same(module):
    x = np.random.default_rng(0).normal(size=(1, 6, 4, 5)).astype("float32")
    np.testing.assert_array_equal(run(HoistElementwise()(module), x), run(module, x))


def test_what_somebody_else_reads_stays():
    tvm.ir.assert_structural_equal(HoistElementwise()(Shared), Shared)
