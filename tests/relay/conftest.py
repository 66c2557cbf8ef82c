"""Tests of the Relay passes; they need a TVM build with Relay, and share their tables with the Relax tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

for shared in ("both_roads", "tvm_zerocopy/buffers"):
    sys.path.insert(0, str(Path(__file__).parents[1] / shared))

if importlib.util.find_spec("tvm.relay") is None:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def cuda(monkeypatch):
    """A CUDA device whose programs run on the CPU, Xavier as its bindings describe it; returns these bindings."""
    import cuda_on_cpu
    from fake_bindings import FakeBindings

    from tvm_zerocopy.buffers import cuda

    bindings = FakeBindings(concurrent=0)
    runtime = cuda.CudaRuntime(bindings)
    monkeypatch.setattr(cuda, "runtime", lambda: runtime)
    with cuda_on_cpu.installed():
        yield bindings
