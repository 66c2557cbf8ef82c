"""Bound engines on CUDA, each test twice: on a GPU where there is one, and with emulated kernels on the stand-in for
the CUDA runtime, whose graphs run what was launched while they were captured."""

import gc
import importlib
import itertools
import json
import threading

import numpy as np
import pytest

import tvm_zerocopy as tz
from tvm_zerocopy.buffers import ExternalBuffer, FrameRing, cuda
from tvm_zerocopy.cli import main
from tvm_zerocopy.cuda_run import CudaRun
from tvm_zerocopy.errors import BufferError, FrameError, UnsupportedError
from tvm_zerocopy.models import build

HEIGHT, WIDTH = 48, 80
FRAME, NMS = tz.Frame("bgr8", HEIGHT, WIDTH), tz.Nms(conf=1e-4, max_det=50)
KINDS = ("managed", "mapped", "device")
RUNS_ON = ["emulated", pytest.param("gpu", marks=pytest.mark.gpu)]


@pytest.fixture(scope="module")
def model():
    return build("yolov5n", size=64, classes=3)


@pytest.fixture(scope="module")
def on_cpu(model):
    return tz.compile(model, frame=FRAME, postprocess=NMS)


@pytest.fixture(scope="module")
def emulated_engine(compile_emulated, model):
    return compile_emulated(model, frame=FRAME, postprocess=NMS)


@pytest.fixture
def real_runtime(monkeypatch):
    """The machine's GPU, even where other tests put the stand-in into its place."""
    for name in cuda.MODULES:
        try:
            runtime = cuda.CudaRuntime(importlib.import_module(name))
            break
        except ImportError:
            continue
    else:
        pytest.skip("no CUDA GPU: NVIDIA's bindings are not installed")
    try:
        runtime.synchronize(0)
    except (UnsupportedError, RuntimeError) as error:  # without a driver the bindings raise on their own
        pytest.skip(f"no CUDA GPU: {error}")
    monkeypatch.setattr(cuda, "runtime", lambda: runtime)
    yield runtime
    gc.collect()  # what was made on the GPU goes before the stand-in comes back


@pytest.fixture
def real_engine(real_runtime, model):
    return tz.compile(model, frame=FRAME, postprocess=NMS, target=f"cuda -arch={real_runtime.arch()}")


@pytest.fixture(params=RUNS_ON)
def engine(request, monkeypatch):
    if request.param == "gpu":
        return request.getfixturevalue("real_engine")
    engine = request.getfixturevalue("emulated_engine")
    bindings, launches, numbers = request.getfixturevalue("fake_cuda"), {}, itertools.count(0x7000)
    capture = CudaRun._capture

    def remembered(run):
        graph = capture(run)
        launches[graph] = run.launch
        return graph

    def launch(graph, stream):
        launches[graph](stream)
        return (0,)

    monkeypatch.setattr(CudaRun, "_capture", remembered)
    monkeypatch.setattr(bindings, "cudaGraphInstantiateWithFlags", lambda graph, flags: (0, next(numbers)))
    monkeypatch.setattr(bindings, "cudaGraphLaunch", launch)
    return engine


@pytest.fixture
def pictures():
    return np.random.default_rng(0).integers(0, 256, (6, HEIGHT, WIDTH, 3), np.uint8)


def fill(buffer, picture):
    """Whatever kind of memory it is."""
    if buffer.kind == "device":
        cuda.runtime().copy(buffer.address, picture.ctypes.data, picture.nbytes)
        return
    with buffer.for_host() as array:
        array[:] = picture


def read(engine, output):
    """Detections in an output buffer, copied to the host once what writes it is done."""
    nbytes = engine.signature.output_nbytes
    memory = np.empty(nbytes, np.uint8)
    if output.kind == "device":
        output.synchronize()
        cuda.runtime().copy(memory.ctypes.data, output.address, nbytes)
    else:
        with output.for_host() as array:
            memory[:] = array
    fields = engine.signature.outputs.items()
    arrays = {n: memory[f.offset : f.offset + f.nbytes].view(f.dtype).reshape(f.shape) for n, f in fields}
    count = int(arrays["count"].reshape(-1)[0])
    return arrays["boxes"].reshape(-1, 4)[:count], arrays["scores"].reshape(-1)[:count]


def check(found, expected):
    boxes, scores = found
    assert len(scores) == len(expected.scores) > 0
    np.testing.assert_allclose(scores, expected.scores, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(boxes, expected.boxes, atol=0.1)


def bound_to(engine, input_kind="managed", output_kind="managed"):
    source = ExternalBuffer.allocate((HEIGHT, WIDTH, 3), np.uint8, kind=input_kind)
    output = ExternalBuffer.allocate((engine.signature.output_nbytes,), np.uint8, kind=output_kind)
    return engine.bind(input=source, output=output), source, output


@pytest.mark.parametrize("output_kind", KINDS)
@pytest.mark.parametrize("input_kind", KINDS)
def test_frame_and_boxes_in_every_kind_of_memory(engine, on_cpu, pictures, input_kind, output_kind):
    bound, source, output = bound_to(engine, input_kind, output_kind)
    for picture in pictures[:3]:  # launched, captured, replayed
        fill(source, picture)
        bound.run()
        check(read(engine, output), on_cpu(picture))


@pytest.mark.parametrize("kind", ["host", "pinned"])
def test_memory_that_kernels_cannot_read_in_place_is_refused(engine, kind):
    hidden = ExternalBuffer.allocate((HEIGHT, WIDTH, 3), np.uint8, kind=kind)
    with pytest.raises(FrameError, match=f"in {kind} memory, and this engine runs on CUDA"):
        engine.bind(input=hidden)
    source = ExternalBuffer.allocate((HEIGHT, WIDTH, 3), np.uint8, kind="managed")
    with pytest.raises(BufferError, match=f"in {kind} memory"):
        engine.bind(input=source, output=ExternalBuffer.allocate((engine.signature.output_nbytes,), kind=kind))


def test_a_replayed_graph_reads_the_frame_that_is_there_now(engine, on_cpu, pictures):
    bound, source, output = bound_to(engine)
    stream = cuda.runtime().create_stream()
    for picture in pictures:
        fill(source, picture)
        bound.run_async(stream)
        check(read(engine, output), on_cpu(picture))  # for_host waits for the stream
    bound.close()
    cuda.runtime().destroy_stream(stream)


def test_two_bindings_run_side_by_side_on_streams_of_their_own(engine, on_cpu, pictures):
    pair = [bound_to(engine) for _ in range(2)]
    for first, second in zip(pictures[::2], pictures[1::2]):
        for (bound, source, _), picture in zip(pair, (first, second)):
            fill(source, picture)
            bound.run_async()
        for (_, _, output), picture in zip(pair, (first, second)):
            check(read(engine, output), on_cpu(picture))


@pytest.mark.parametrize("kind", ["managed", "mapped"])
def test_a_capture_thread_fills_frames_while_others_are_inferred(engine, on_cpu, pictures, kind):
    ring = FrameRing.allocate(3, FRAME, kind=kind)
    bindings = {}
    for slot in ring.slots:
        output = ExternalBuffer.allocate((engine.signature.output_nbytes,), np.uint8, kind=kind)
        bindings[slot.index] = engine.bind(input=slot.buffers[0], output=output), output
    order = [n % len(pictures) for n in range(12)]

    def capture():
        for n in order:
            with ring.capture() as slot:
                slot.array[:] = pictures[n]
        ring.close()

    thread = threading.Thread(target=capture)
    thread.start()
    expected = [on_cpu(picture).copy() for picture in pictures]
    for n in order:
        with ring.next() as slot:
            bound, output = bindings[slot.index]
            bound.run_async()
            check(read(engine, output), expected[n])
    thread.join()
    assert ring.counters.dropped == 0


def test_the_host_waits_before_it_writes_and_is_refused_while_a_run_is_submitted(engine, pictures):
    bound, source, _ = bound_to(engine)
    fill(source, pictures[0])
    with source.for_host(), pytest.raises(BufferError, match="for_host"):
        bound.run_async()
    bound.run_async()
    with source.for_host() as array:  # the submitted run has read it
        array[:] = pictures[1]


def test_an_engine_follows_its_frame_to_the_second_gpu(emulated_engine, fake_cuda, on_cpu, pictures):
    source = ExternalBuffer.allocate((HEIGHT, WIDTH, 3), np.uint8, kind="managed", device_id=1)
    fill(source, pictures[0])
    known = set(fake_cuda.live)
    bound = emulated_engine.bind(input=source)
    new = {fake_cuda.devices[address] for address in set(fake_cuda.live) - known}
    assert new == {1}  # workspace, weights and outputs
    bound.run()
    np.testing.assert_allclose(bound.detections().scores, on_cpu(pictures[0]).scores, rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(emulated_engine(source).boxes, on_cpu(pictures[0]).boxes, atol=0.1)
    with pytest.raises(BufferError, match="on CUDA devices 0, 1; give both on one"):
        emulated_engine.bind(input=source, output=emulated_engine.allocate_output())


def test_the_audit_counts_what_the_driver_recorded(emulated_engine, fake_cuda, monkeypatch, capsys):
    monkeypatch.setattr("tvm_zerocopy.artifact.load", lambda path: emulated_engine)
    kernels = [(0, 0)] * len(emulated_engine.program["calls"])
    monkeypatch.setattr(fake_cuda, "nodes", kernels)
    assert main(["audit", "engine.so"]) == 0
    shown = capsys.readouterr().out
    assert f"{len(kernels)} graph nodes" in shown and "agree" in shown
    monkeypatch.setattr(fake_cuda, "nodes", [*kernels, (1, 1000), (1, 24), (10, 4096)])
    assert main(["audit", "engine.so", "--json", "-"]) == 1
    measured = json.loads(capsys.readouterr().out)["measured"]["per_frame"]
    assert (measured["copies"], measured["copied_bytes"]) == (2, 1024)
    assert (measured["allocations"], measured["allocated_bytes"]) == (1, 4096)


@pytest.mark.gpu
def test_a_run_takes_no_gpu_memory_and_its_graph_is_kernels_alone(real_engine, real_runtime, pictures):
    """The analysis' figure, 0 allocations and no copy outside kernels, borne out by the driver."""
    from tvm_zerocopy.passes.copy_report import CopyReport

    report = CopyReport.from_dict(real_engine.metadata["copy_report"])
    assert report.totals()["allocated"]["count"] == 0
    bound, source, _ = bound_to(real_engine)
    fill(source, pictures[0])
    bound.run()
    bound.run()
    api = real_runtime._api
    free = api.cudaMemGetInfo()[1]
    for _ in range(50):
        bound.run()
    assert api.cudaMemGetInfo()[1] == free

    nodes = real_runtime.record(cuda.Stream(0).handle, bound.launch)
    assert {kind for kind, _ in nodes} == {"kernel"} and len(nodes) >= len(real_engine.program["calls"])
