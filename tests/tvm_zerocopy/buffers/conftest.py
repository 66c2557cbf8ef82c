"""The CUDA runtime's stand-in for tests of buffers."""

import pytest
from fake_bindings import FakeBindings

from tvm_zerocopy.buffers import cuda


@pytest.fixture
def fake_bindings(monkeypatch):
    """Puts a FakeBindings made with the given arguments in the place of the CUDA runtime, and returns it."""

    def put(**arguments):
        bindings = FakeBindings(**arguments)
        runtime = cuda.CudaRuntime(bindings)
        monkeypatch.setattr(cuda, "runtime", lambda: runtime)
        return bindings

    return put
