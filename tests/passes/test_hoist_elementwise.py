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


@I.ir_module
class Grids:
    @R.function
    def main(x: R.Tensor((1, 6, 4, 5), "float32"), y: R.Tensor((1, 6, 2, 3), "float32")) -> R.Tensor(
        (1, 6, 26), "float32"
    ):
        with R.dataflow():
            large = R.reshape(R.add(x, R.const(0.5, "float32")), (1, 6, 20))
            small = R.reshape(R.add(y, R.const(0.5, "float32")), (1, 6, 6))
            out = R.sigmoid(R.concat((large, small), axis=2))
            R.output(out)
        return out


@I.ir_module
class Returned:
    @R.function
    def main(x: R.Tensor((1, 6, 4), "float32")):
        with R.dataflow():
            turned = R.permute_dims(x, [0, 2, 1])
            out = R.sigmoid(turned)
            R.output(turned, out)
        return turned, out


def operators(module):
    found = []
    relax.analysis.post_order_visit(
        module["main"], lambda e: found.append(e.op.name) if isinstance(e, relax.Call) else None
    )
    return found


def run(module):
    vm = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
    shapes = [[int(v) for v in p.ty.shape] for p in module["main"].params]
    rng = np.random.default_rng(0)
    return vm["main"](*[tvm.runtime.tensor(rng.normal(size=shape).astype("float32")) for shape in shapes]).numpy()


def test_activation_stands_before_the_rearrangements():
    after = operators(HoistElementwise()(Head))
    assert after == ["relax.add", "relax.sigmoid", "relax.reshape", "relax.permute_dims"]


def test_activation_of_a_concatenation_stands_before_its_parts():
    after = operators(HoistElementwise()(Grids))
    assert after[-1] == "relax.concat" and [after.index("relax.sigmoid"), after.count("relax.sigmoid")] == [2, 2]


@pytest.mark.parametrize("module", [Head, Shared, Grids])
def test_values_stay_the_same(module):
    np.testing.assert_array_equal(run(HoistElementwise()(module)), run(module))


@pytest.mark.parametrize("module", [Shared, Returned])
def test_what_somebody_else_reads_stays(module):
    tvm.ir.assert_structural_equal(HoistElementwise()(module), module)
