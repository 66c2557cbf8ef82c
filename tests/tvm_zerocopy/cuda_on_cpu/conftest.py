"""`compile_emulated`: `tz.compile` for Jetson AGX Xavier whose engine runs here."""

import importlib.util
import shutil
from pathlib import Path

import emulator
import pytest
from tvm.target import Target

import tvm_zerocopy as tz
from tvm_zerocopy import compiler
from tvm_zerocopy.buffers import cuda
from tvm_zerocopy.targets import host_cpu

XAVIER = "nvidia/jetson-agx-xavier"


def _fake_bindings():
    path = Path(__file__).parents[1] / "buffers" / "fake_bindings.py"
    spec = importlib.util.spec_from_file_location("fake_bindings", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.FakeBindings


@pytest.fixture(scope="session")
def fake_cuda():
    """The CUDA runtime's stand-in, for the whole session: engines keep their memory in it."""
    bindings = _fake_bindings()()
    runtime = cuda.CudaRuntime(bindings)
    patch = pytest.MonkeyPatch()
    patch.setattr(cuda, "runtime", lambda: runtime)
    yield bindings
    patch.undo()


@pytest.fixture(scope="session")
def compile_emulated(fake_cuda, tmp_path_factory):
    """``compile_emulated(model, **options)`` gives an Engine for "CUDA"; its frames lie in managed memory.

    ``checks`` is what `emulator.build` takes.
    """
    if shutil.which("g++") is None:
        pytest.skip("the kernels' source is compiled with g++, which is not installed")

    def compile_(model, checks=None, **options):
        folder = tmp_path_factory.mktemp("emulated")
        patch = pytest.MonkeyPatch()
        patch.setattr(compiler, "build_module", lambda module, target: emulator.build(module, target, folder, checks))
        target = Target(Target(XAVIER), host=Target(host_cpu()))
        try:
            return tz.compile(model, target=target, **options)
        finally:
            patch.undo()

    return compile_
