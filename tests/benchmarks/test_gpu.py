"""The kernels' check of the benchmark for a GPU, with a CPU in the GPU's place."""

import sys
from pathlib import Path

import numpy as np
import pytest
import tvm

from tvm_zerocopy.errors import ZeroCopyError
from tvm_zerocopy.models import build
from tvm_zerocopy.schedules.cpu.base import child_blocks, schedule_of
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning.model import Unscheduled

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import gpu

CPU = tvm.cpu()


@pytest.fixture(scope="module")
def unscheduled():
    return Unscheduled(build("yolov5n", size=32, classes=3), resolve_target("llvm"))


def test_right_kernels_pass(unscheduled):
    errors = gpu.check_kernels(unscheduled, resolve_target("llvm"), CPU, np.random.default_rng(0))
    assert len(errors) > 20
    assert max(errors.values()) < gpu.KERNEL_BOUNDS["float32"]


class Wrong:
    """Leaves the last row of each kernel's first axis with more than one out."""

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        block = child_blocks(sch)[-1]
        loop = max(sch.get_loops(block), key=lambda each: int(sch.get(each).extent))
        extent = int(sch.get(loop).extent)
        short = gpu.structural_map(
            sch.mod["main"], (tvm.tirx.For, lambda node: _shorter(node) if int(node.extent) == extent else node)
        )
        return schedule_of(short)


def _shorter(loop):
    return tvm.tirx.For(loop.loop_var, loop.min, loop.extent - 1, loop.kind, loop.body)


def test_a_wrong_kernel_is_named(unscheduled, monkeypatch):
    monkeypatch.setattr(unscheduled, "rules", [Wrong()])
    with pytest.raises(ZeroCopyError, match="kernel .* errs by"):
        gpu.check_kernels(unscheduled, resolve_target("llvm"), CPU, np.random.default_rng(0))


def test_the_gpu_s_own_functions_run_on_the_cpu():
    from tvm import te

    from tvm_zerocopy.passes.cuda_math import silu

    x = te.placeholder((64,), name="x")
    func = te.create_prim_func([x, te.compute((64,), lambda i: silu(x[i]))])
    built = tvm.compile(tvm.IRModule({"main": gpu.without_intrinsics(func)}), target="llvm")
    values = np.linspace(-20, 20, 64, dtype="float32")
    found = tvm.runtime.tensor(np.zeros(64, "float32"))
    built["main"](tvm.runtime.tensor(values), found)
    np.testing.assert_allclose(found.numpy(), values / (1 + np.exp(-values)), rtol=1e-5, atol=1e-6)


def test_preprocessing_alone_is_one_call():
    frame = gpu.tz.Frame("nv12", height=72, width=128)
    engine = gpu.tz.compile(gpu.identity(), frame=frame, preprocess=gpu.tz.Preprocess(), postprocess=None)
    assert [call["kernel"] for call in engine.program["calls"]] == ["preprocess"]
