"""`emulated_gpu`: Jetson AGX Xavier in this machine's memory, its kernels' source run by the CPU."""

import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
sys.path += [str(ROOT / "benchmarks")]
sys.path += [str(ROOT / "tests" / "tvm_zerocopy" / folder) for folder in ("cuda_on_cpu", "buffers")]


@pytest.fixture
def emulated_gpu(tmp_path_factory, monkeypatch):
    """What a test compiles for CUDA runs here; graphs are captured and not run again. Gives the CUDA runtime."""
    if shutil.which("g++") is None:
        pytest.skip("the kernels' source is compiled with g++, which is not installed")
    import emulator
    from fake_bindings import FakeBindings
    from on_gpu import checks, work

    from tvm_zerocopy import compiler, program
    from tvm_zerocopy.buffers import cuda

    runtime, build = cuda.CudaRuntime(FakeBindings()), program.build_module

    def build_module(module, target):
        if target.kind.name != "cuda":
            return build(module, target)
        return emulator.build(module, target, tmp_path_factory.mktemp("emulated"))

    monkeypatch.setattr(cuda, "runtime", lambda: runtime)
    for module in (compiler, work, checks):
        monkeypatch.setattr(module, "build_module", build_module)
    return runtime
