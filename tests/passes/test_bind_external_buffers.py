"""Results written straight into the caller's tensors, in an ordinary VM build."""

import numpy as np
import pytest
import tvm
from tvm import relax
from tvm.script import ir as I
from tvm.script import relax as R

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.passes.bind_external_buffers import BindExternalBuffers

SHAPE = (4, 6)
X = np.arange(24, dtype="float32").reshape(SHAPE) / 7


@I.ir_module
class Two:
    @R.function
    def main(x: R.Tensor((4, 6), "float32")):
        with R.dataflow():
            a = R.exp(x)
            b = R.add(a, x)
            c = R.multiply(a, b)
            gv = (b, c)
            R.output(gv)
        return gv


@I.ir_module
class One:
    @R.function
    def main(x: R.Tensor((4, 6), "float32")):
        with R.dataflow():
            gv = R.exp(x)
            R.output(gv)
        return gv


@I.ir_module
class Twice:
    @R.function
    def main(x: R.Tensor((4, 6), "float32")):
        with R.dataflow():
            a = R.exp(x)
            b = R.add(a, x)
            gv = (b, x, b)
            R.output(gv)
        return gv


@I.ir_module
class Split:
    @R.function
    def main(x: R.Tensor((4, 6), "float32")):
        with R.dataflow():
            parts = R.split(x, 2, axis=1)
            first = parts[0]
            second = parts[1]
            gv = (second, first)
            R.output(gv)
        return gv


@I.ir_module
class Second:
    @R.function
    def main(x: R.Tensor((4, 6), "float32")):
        with R.dataflow():
            parts = R.split(x, 2, axis=1)
            gv = parts[1]
            R.output(gv)
        return gv


@I.ir_module
class View:
    @R.function
    def main(x: R.Tensor((4, 6), "float32")):
        with R.dataflow():
            a = R.exp(x)
            gv = R.reshape(a, (2, 12))
            R.output(gv)
        return gv


E, S = np.exp(X), np.exp(X) + X
EXPECTED = {
    "two": (Two, [S, E * S]),
    "one": (One, [E]),
    "split": (Split, [X[:, 3:], X[:, :3]]),
    "second": (Second, [X[:, 3:]]),  # the kernel's first result is nobody's
    "twice": (Twice, [S, X, S]),
}


def legalized(mod, **options):
    steps = [
        relax.transform.LegalizeOps(**options),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
    ]
    return tvm.transform.Sequential(steps)(mod)


def rewritten(mod):
    steps = [relax.transform.ToNonDataflow(), relax.transform.RemovePurityChecking(), relax.transform.CallTIRRewrite()]
    return tvm.transform.Sequential(steps)(legalized(mod))


def run(mod, expected):
    """Run in the VM on poisoned outputs; the results' memory must be the caller's."""
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    x = tvm.runtime.tensor(X)
    outputs = [tvm.runtime.tensor(np.full(want.shape, np.nan, "float32")) for want in expected]
    returned = vm["main"](x, *outputs)
    returned = [returned] if isinstance(returned, tvm.runtime.Tensor) else list(returned)
    assert [tensor.data_ptr() for tensor in returned] == [tensor.data_ptr() for tensor in outputs]
    for output, want in zip(outputs, expected):
        np.testing.assert_allclose(output.numpy(), want, rtol=1e-6)


def allocations(mod):
    """Tensors that main allocates once calls are rewritten, with their shapes."""
    text = tvm.transform.Sequential(
        [relax.transform.ToNonDataflow(), relax.transform.RemovePurityChecking(), relax.transform.CallTIRRewrite()]
    )(mod)["main"].script()
    return text.count("R.builtin.alloc_tensor")


@pytest.mark.parametrize("form", [legalized, rewritten])
@pytest.mark.parametrize("case", ["two", "one", "split", "second"])
def test_results_are_the_callers_tensors(case, form):
    mod, expected = EXPECTED[case]
    bound = BindExternalBuffers()(form(mod))
    assert len(bound["main"].params) == 1 + len(expected)
    run(bound, expected)


@pytest.mark.parametrize("form", [legalized, rewritten])
def test_a_parameter_or_a_result_returned_twice_is_copied_and_said(form):
    mod, expected = EXPECTED["twice"]
    with pytest.warns(UserWarning) as said:
        bound = BindExternalBuffers()(form(mod))
    assert sorted(str(warning.message).split(";")[0] for warning in said) == [
        "result 1 is a parameter or constant of main",
        "result 2 is returned twice",
    ]
    run(bound, expected)


def test_a_view_of_a_kernels_result_is_written_through():
    bound = BindExternalBuffers()(legalized(View, skip_ops=["relax.reshape"]))
    assert "vm.builtin.reshape" in bound["main"].script()
    run(bound, [E.reshape(2, 12)])


def test_nothing_is_allocated_for_results():
    mod = legalized(One)
    assert allocations(mod) == 1
    assert allocations(BindExternalBuffers()(mod)) == 0


def test_weights_as_parameters_stay_last():
    mod = legalized(Two)
    mod["main"] = mod["main"].with_attr("num_input", 0)  # x is a weight
    main = BindExternalBuffers()(mod)["main"]
    assert [str(param.name) for param in main.params] == ["output0", "output1", "x"]
    assert main.attrs["num_input"] == 2


def test_an_operator_that_is_no_kernel_is_refused():
    with pytest.raises(UnsupportedError, match=r"result 0 of main is made by relax.add, .*LegalizeOps"):
        BindExternalBuffers()(Two)


def test_a_result_of_run_time_size_is_refused():
    @I.ir_module
    class Dynamic:
        @R.function
        def main(x: R.Tensor(("n", 6), "float32")):
            with R.dataflow():
                gv = R.exp(x)
                R.output(gv)
            return gv

    with pytest.raises(UnsupportedError, match="result 0 of main is .* static shape"):
        BindExternalBuffers()(legalized(Dynamic))
