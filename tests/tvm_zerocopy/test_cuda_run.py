"""Runs on a CUDA stream, on the CUDA runtime's stand-in: what is called in which order, and what is refused."""

import gc
import importlib.util
from pathlib import Path

import pytest

from tvm_zerocopy.buffers import ExternalBuffer, cuda
from tvm_zerocopy.cuda_run import CudaRun
from tvm_zerocopy.errors import BufferError, UnsupportedError

GRAPH = ["cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiateWithFlags", "cudaGraphDestroy"]


@pytest.fixture
def bindings(monkeypatch):
    path = Path(__file__).parent / "buffers" / "conftest.py"
    spec = importlib.util.spec_from_file_location("fake_bindings_of_runs", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    fake = module.FakeBindings()
    runtime = cuda.CudaRuntime(fake)
    monkeypatch.setattr(cuda, "runtime", lambda: runtime)
    return fake


def make(function=lambda *_: None, count=2):
    buffers = [ExternalBuffer.allocate((4,), "float32", kind="managed") for _ in range(count)]
    return CudaRun(function, [], buffers), buffers


def names(bindings, since=0):
    return [name for name, _ in bindings.calls[since:]]


def test_first_run_launches_second_captures_and_later_ones_replay(bindings):
    launched = []
    run, _ = make(lambda *_: launched.append(names(bindings)[-1:]))
    run.submit(7)
    assert launched and not set(GRAPH) & set(names(bindings))
    run.submit(7)
    assert [n for n in names(bindings) if n in GRAPH] == GRAPH
    assert len(launched) == 2 and launched[1] == ["cudaStreamBeginCapture"]
    run.submit(7)
    assert len(launched) == 2
    assert list(bindings.called("cudaGraphLaunch")) == [(0x6001, 7)] * 2


def test_each_stream_has_a_graph_of_its_own(bindings):
    run, _ = make()
    for stream in (7, 8, 7, 8):
        run.submit(stream)
    assert [stream for stream, _ in bindings.called("cudaStreamBeginCapture")] == [7, 8]


def test_default_stream_stands_for_one_that_can_be_captured(bindings):
    run, _ = make()
    run.submit()
    run.submit(0)
    assert len(bindings.called("cudaStreamCreateWithFlags")) == 1
    assert bindings.called("cudaGraphLaunch")[0][1] == 0x5001


def test_synchronous_run_waits_for_its_stream(bindings):
    run, buffers = make()
    run()
    assert (0x5001,) in bindings.called("cudaStreamSynchronize")
    with buffers[0].for_host() as array:
        array[:] = 1


def test_host_waits_for_what_was_submitted(bindings):
    run, buffers = make()
    run.submit(7)
    since = len(bindings.calls)
    with buffers[1].for_host():
        assert bindings.calls[since:] == [("cudaStreamSynchronize", (7,))]


def test_nothing_is_submitted_while_a_capture_thread_writes(bindings):
    launched = []
    run, buffers = make(lambda *_: launched.append(1))
    with buffers[0].for_host(), pytest.raises(BufferError, match="for_host"):
        run.submit(7)
    assert not launched
    run.submit(7)
    assert launched


def test_failed_capture_ends_it_and_gives_the_reason(bindings):
    calls = []

    def function(*_):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("launch failed")

    run, _ = make(function)
    run.submit(7)
    with pytest.raises(RuntimeError, match="launch failed"):
        run.submit(7)
    assert names(bindings).count("cudaStreamEndCapture") == 1
    run.submit(7)
    assert len(bindings.called("cudaGraphLaunch")) == 1


def test_refused_graph_launch_is_one_line(bindings):
    run, _ = make()
    run.submit(7)
    bindings.fail = "cudaGraphLaunch"
    with pytest.raises(UnsupportedError, match="cudaGraphLaunch failed: out of memory"):
        run.submit(7)


def test_graphs_and_stream_go_with_the_run(bindings):
    run, _ = make()
    run.submit()
    run.submit()
    del run
    gc.collect()
    assert bindings.called("cudaGraphExecDestroy") == [(0x6001,)]
    assert bindings.called("cudaStreamDestroy") == [(0x5001,)]
