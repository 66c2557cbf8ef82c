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
    return CudaRun(function, buffers, [], 0), buffers


def names(bindings, since=0):
    return [name for name, _ in bindings.calls[since:]]


def test_first_run_launches_second_captures_and_later_ones_replay(bindings):
    launched = []
    run, _ = make(lambda *_: launched.append(names(bindings)))
    run.submit(7)
    assert launched and not set(GRAPH) & set(names(bindings))
    run.submit(7)
    assert [n for n in names(bindings) if n in GRAPH] == GRAPH
    assert len(launched) == 2 and "cudaStreamBeginCapture" in launched[1] and GRAPH[1] not in launched[1]
    run.submit(7)
    assert len(launched) == 2
    assert list(bindings.called("cudaGraphLaunch")) == [(0x6001, 7)] * 2


def test_one_graph_serves_every_stream_one_after_another(bindings):
    run, _ = make()
    for stream in (7, 8, 7):
        run.submit(stream)
    assert [graph for graph, _ in bindings.called("cudaGraphLaunch")] == [0x6001] * 2
    first, second = (bindings.calls.index(("cudaGraphLaunch", (0x6001, stream))) for stream in (8, 7))
    assert ("cudaStreamWaitEvent", (8, 7)) in bindings.calls[:first]
    assert ("cudaStreamWaitEvent", (7, 8)) in bindings.calls[first:second]


@pytest.mark.parametrize("default", [0, 1, 2])
def test_the_default_stream_is_the_default_stream(bindings, default):
    """Torch's current stream is the default one: its work must come before and after ours. It cannot be captured."""
    run, _ = make()
    run.submit(default)
    run.submit(default)
    assert bindings.called("cudaGraphLaunch") == [(0x6001, default)]
    assert bindings.called("cudaStreamBeginCapture")[0][0] == 0x5001  # the run's own


def test_without_a_stream_it_has_one_of_its_own(bindings):
    run, _ = make()
    run.submit()
    run.submit()
    assert bindings.called("cudaGraphLaunch") == [(0x6001, 0x5001)]


def test_synchronous_run_waits_for_its_stream(bindings):
    run, buffers = make()
    run()
    assert bindings.waited and set(bindings.waited) == {0x5001}
    with buffers[0].for_host() as array:
        array[:] = 1


def test_host_waits_for_what_was_submitted(bindings):
    run, buffers = make()
    run.submit(7)
    with buffers[1].for_host():
        assert bindings.waited == [7]


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
    run, buffers = make()
    run.submit()
    run.submit()
    del run
    gc.collect()
    assert bindings.called("cudaGraphExecDestroy") == [(0x6001,)]
    for buffer in buffers:
        buffer.synchronize()
    assert bindings.called("cudaStreamDestroy") == [(0x5001,)] and not bindings.events


def first(bindings, name):
    return names(bindings).index(name)


def test_a_buffer_outlives_the_binding_whose_work_it_waits_for(bindings):
    """The stream is the run's own and gone."""
    run, buffers = make()
    run.submit()
    del run
    gc.collect()
    with buffers[0].for_host() as array:
        array[:] = 1


@pytest.mark.parametrize("kind, free", [("managed", "cudaFree"), ("mapped", "cudaFreeHost"), ("device", "cudaFree")])
@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_nothing_is_given_back_while_kernels_may_run(bindings, kind, free, in_a_cycle):
    """Only cudaFree may wait by itself, and cudaFreeHost says nothing of it (CUDA Runtime API, Memory Management)."""
    released = []
    buffers = [ExternalBuffer.allocate((4,), "float32", kind=kind) for _ in range(2)]
    memory = bytearray(16)
    address = ExternalBuffer.wrap(memory).address
    camera = ExternalBuffer.from_pointer(
        address, (4,), "float32", kind="mapped", on_release=lambda: released.append(names(bindings))
    )
    workspace = ExternalBuffer.allocate((4,), "float32", kind="device")
    run = CudaRun(lambda *_: None, [*buffers, camera], [workspace], 0)
    if in_a_cycle:
        run.itself = run
        run.friends = [run, *buffers, camera]
    run.submit(7)
    run.submit(7)
    bindings.calls.clear()
    del run, buffers, camera, workspace
    gc.collect()
    assert not bindings.live
    assert first(bindings, "cudaEventSynchronize") < first(bindings, "cudaGraphExecDestroy")
    assert first(bindings, "cudaEventSynchronize") < min(first(bindings, free), first(bindings, "cudaFree"))
    assert set(bindings.waited) == {7} and "cudaEventSynchronize" in released[0] and not bindings.events


def test_garbage_is_collected_during_a_capture(bindings):
    """The stand-in refuses cudaFree while a capture runs in another mode than the relaxed one."""
    garbage = []

    def function(*_):
        garbage.clear()
        gc.collect()

    run, _ = make(function)
    run.submit(7)
    garbage.append(ExternalBuffer.allocate((4,), kind="managed"))
    run.submit(7)
    assert bindings.called("cudaFree")


def test_a_run_on_the_second_gpu_leaves_the_threads_device_as_it_was(bindings):
    current = []
    buffer = ExternalBuffer.allocate((4,), "float32", kind="managed", device_id=1)

    def function(*_):
        current.append(bindings.current)
        bindings.current = 1  # as TVM's host code does

    run = CudaRun(function, [buffer], [], 1)
    run()
    run()
    run.submit(0)
    with buffer.for_host():
        assert bindings.waited[-1] == 0
    assert current == [1, 1] and bindings.current == 0 and set(bindings.streams.values()) == {1}


def test_an_error_is_cleared_for_other_libraries(bindings):
    run, _ = make()
    run.submit(7)
    bindings.fail = "cudaEventSynchronize"
    with pytest.raises(UnsupportedError):
        run()
    assert names(bindings)[first(bindings, "cudaEventSynchronize") + 1] == "cudaGetLastError"
    bindings.fail = None


def test_a_broken_device_is_not_reported_again_by_the_garbage_collector(bindings, capsys):
    run, buffers = make()
    run.submit(7)
    bindings.fail = "cudaEventSynchronize"
    del run, buffers
    gc.collect()
    bindings.fail = None
    assert capsys.readouterr().err == ""
