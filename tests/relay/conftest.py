"""Tests of the Relay passes; they need a TVM build with Relay, and share their tables with the Relax tests."""

import importlib.util
import sys
from pathlib import Path

import pytest

for shared in ("both_roads", "tvm_zerocopy/buffers"):
    sys.path.insert(0, str(Path(__file__).parents[1] / shared))

HAS_RELAY = importlib.util.find_spec("tvm.relay") is not None
if not HAS_RELAY:
    collect_ignore_glob = ["test_*.py"]


# By the clock on the wall; a test that takes 30 s on an idle machine may be stopped or starved for long.
TIMEOUT = 1800


def pytest_collection_modifyitems(config, items):
    """End a test that hangs by ending its process: TVM's callbacks swallow what a signal's handler raises in them.

    The operator's strategy, say, is None then, and the test fails of that, wherever it was.
    """
    if not (HAS_RELAY and config.pluginmanager.hasplugin("timeout")):
        return
    for item in items:
        ours = Path(str(item.fspath)).parent.name in ("relay", "both_roads")
        if ours and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(config.getoption("timeout") or TIMEOUT, method="thread"))


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
