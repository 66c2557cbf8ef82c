"""Engines on frames and on bound memory: read and written in place, refused clearly, safe from several threads."""

import gc
import os
import signal
import threading

import numpy as np
import pytest
import small_program
from hypothesis import given, settings
from hypothesis import strategies as st
from road import small_engine

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.errors import BufferError, FrameError, UnsupportedError
from tvm_zerocopy.threads import use_available_cpus

BATCH = 2


@pytest.fixture(scope="module")
def engine():
    return small_engine(BATCH)


@pytest.fixture(scope="module")
def fixed_engine():
    return small_engine(BATCH, height=4, width=6)


def frames(height=4, width=6, seed=0):
    return np.random.default_rng(seed).integers(0, 255, (BATCH, height, width, 3), dtype=np.uint8)


def memory_for_outputs(nbytes):
    """Bytes on a boundary that every executor takes."""
    return np.asarray(ExternalBuffer.allocate((nbytes,)))


def check(detections, given_frames):
    assert len(detections) == BATCH
    for found, frame in zip(detections, given_frames):
        boxes, scores, classes = small_program.expected(frame)
        np.testing.assert_array_equal(found.boxes, boxes)
        np.testing.assert_array_equal(found.scores, scores)
        np.testing.assert_array_equal(found.classes, classes)
        assert (found.boxes.dtype, found.scores.dtype, found.classes.dtype) == ("float32", "float32", "int32")


# --- calls ----------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 7), st.integers(0, 3), st.integers(0, 9))
def test_frames_of_any_size_pitch_and_alignment(engine, height, width, padding, rows_between, offset):
    pitch = width * 3 + padding
    distance = pitch * (height + rows_between)
    memory = np.random.default_rng(offset).integers(0, 255, offset + BATCH * distance, dtype=np.uint8)
    view = np.lib.stride_tricks.as_strided(memory[offset:], (BATCH, height, width, 3), (distance, pitch, 3, 1))
    check(engine(view), view)


def torch_tensor(array):
    return pytest.importorskip("torch").from_numpy(array)


@pytest.mark.parametrize("wrap", [torch_tensor, ExternalBuffer.wrap, memoryview, lambda array: array])
def test_anything_that_shares_its_memory(engine, wrap):
    given_frames = frames()
    check(engine(wrap(given_frames)), given_frames)


def test_a_read_only_frame_is_read(engine):
    given_frames = frames()
    given_frames.flags.writeable = False
    check(engine(given_frames), given_frames)


def test_results_of_a_call_outlive_the_next(engine):
    first, second = frames(seed=1), frames(seed=2)
    kept = engine(first)
    engine(second)
    check(kept, first)


def test_detections_name_their_classes(engine):
    found = engine(frames())[0]
    assert [found.name_of(i) for i in range(len(found))] == [small_program.NAMES[c] for c in found.classes]
    box, score, number = next(iter(found))
    assert box.shape == (4,) and score == 1 and number == found.classes[0]


def test_raw_outputs_are_a_tuple_in_the_models_order():
    engine = small_engine(BATCH, raw=True)
    outputs = engine(frames())
    assert [output.shape for output in outputs] == [(2, 4, 4), (2, 4), (2, 4), (2,)]
    assert list(engine.output_layout) == ["a", "b", "c", "d"]
    assert [field.offset % 64 for field in engine.output_layout.values()] == [0, 0, 0, 0]


# --- frames that are refused ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame, message",
    [
        (lambda: frames().astype("float32"), "frame has dtype float32; it must be uint8"),
        (lambda: frames()[0], r"frame has shape \(4, 6, 3\); this engine takes 2 frames at once"),
        (lambda: frames()[:1], r"frame has shape \(1, 4, 6, 3\); this engine takes 2 frames at once"),
        (lambda: frames()[..., :2], r"\(4, 6, 3\)"),
        (lambda: frames()[:, :, ::-1], "cannot be read in place: .*negative"),
        (lambda: frames()[:, :, ::2], "rows may be padded, samples within a row may not"),
        (lambda: frames().transpose(0, 2, 1, 3), "rows may be padded, samples within a row may not"),
        (lambda: frames()[:, :0], "cannot be read in place: .*no elements"),
        (lambda: [frames(), frames()], r"a bgr8 frame is 1 tensor\(s\) \(frame\); got 2"),
        (lambda: "frame.jpg", "frame cannot be read in place"),
        (lambda: None, "frame cannot be read in place"),
    ],
)
def test_a_wrong_frame_is_refused_in_one_line(engine, frame, message):
    with pytest.raises(FrameError, match=message) as refused:
        engine(frame())
    assert "\n" not in str(refused.value)
    with pytest.raises(FrameError, match=message):
        engine.bind(input=frame())


def test_a_frame_of_another_size_is_refused(fixed_engine):
    check(fixed_engine(frames()), frames())
    with pytest.raises(FrameError, match="the frame is 6x5; this engine was compiled for 6x4 .*any size"):
        fixed_engine(frames(height=5))


def test_device_memory_is_refused(engine):
    frame = ExternalBuffer.from_pointer(4096, (BATCH, 4, 6, 3), kind="device")
    with pytest.raises(FrameError, match="frame is in CUDA device memory; this engine runs on the CPU"):
        engine(frame)


# --- bound memory -----------------------------------------------------------------------------------------------------


def test_a_bound_engine_reads_and_writes_the_callers_memory(engine):
    given_frames = frames()
    output = memory_for_outputs(engine.signature.output_nbytes + 64)
    output[:] = 77
    bound = engine.bind(input=given_frames, output=output)
    for seed in range(3):
        given_frames[:] = frames(seed=seed)
        bound.run()
        check(bound.detections(), given_frames)
    field = engine.output_layout["scores"]
    raw = output[field.offset : field.offset + field.nbytes].view("float32").reshape(field.shape)
    np.testing.assert_array_equal(raw[0], small_program.expected(given_frames[0])[1])
    assert np.shares_memory(bound.detections()[0].boxes, output)
    assert (output[-64:] == 77).all()


def test_outputs_by_name(engine):
    layout = engine.output_layout
    output = {
        name: memory_for_outputs(field.nbytes).view(field.dtype).reshape(field.shape) for name, field in layout.items()
    }
    given_frames = frames()
    bound = engine.bind(input=given_frames, output=output)
    bound.run()
    np.testing.assert_array_equal(output["boxes"][1], small_program.expected(given_frames[1])[0])
    assert output["count"].tolist() == [4, 4]
    assert set(bound.outputs) == {"boxes", "scores", "classes", "count"}


def read_only(nbytes):
    memory = np.zeros(nbytes, "uint8")
    memory.flags.writeable = False
    return memory


@pytest.mark.parametrize(
    "output, message",
    [
        (lambda n: read_only(n), "read-only"),
        (lambda n: np.zeros(n - 64, "uint8"), r"outputs need one dense buffer of \d+ bytes \(engine.allocate_output"),
        (lambda n: np.zeros((n, 2), "uint8")[:, 0], "outputs need one dense buffer"),
        (lambda n: {}, "outputs are boxes, scores, classes, count; got none"),
        (lambda n: {"boxes": np.zeros(4)}, "outputs are boxes, scores, classes, count; got boxes"),
        (lambda n: by_name(boxes=np.zeros((2, 4, 4))), r"output boxes must be dense float32 \(2, 4, 4\); got"),
        (lambda n: by_name(scores=np.zeros((2, 5), "float32")), r"output scores must be dense float32 \(2, 4\); got"),
        (lambda n: by_name(scores=np.zeros((4, 2), "float32").T), "output scores must be dense"),
        (lambda n: overlapping(), "outputs scores and classes share memory"),
        (lambda n: 7, "int"),
    ],
)
def test_an_impossible_output_is_refused(engine, output, message):
    with pytest.raises(BufferError, match=message):
        engine.bind(input=frames(), output=output(engine.signature.output_nbytes))


def by_name(**changes):
    shapes = {"boxes": (2, 4, 4), "scores": (2, 4), "classes": (2, 4), "count": (2,)}
    dtypes = {"boxes": "float32", "scores": "float32", "classes": "int32", "count": "int32"}
    return {**{name: np.zeros(shapes[name], dtypes[name]) for name in shapes}, **changes}


def overlapping():
    memory = np.zeros((2, 4), "float32")
    return by_name(scores=memory, classes=memory.view("int32"))


def test_an_output_over_the_input_is_refused(engine):
    memory = memory_for_outputs(4096)
    frame = memory[:144].reshape(BATCH, 4, 6, 3)
    with pytest.raises(BufferError, match="output boxes overlaps the input"):
        engine.bind(input=frame, output=memory)


def test_an_output_belongs_to_one_binding_at_a_time(engine):
    output = engine.allocate_output()
    first = engine.bind(input=frames(), output=output)
    with pytest.raises(BufferError, match="output boxes is bound already; close the other binding"):
        engine.bind(input=frames(), output=output)
    first.close()
    with pytest.raises(BufferError, match="this binding is closed"):
        first.run()
    with engine.bind(input=frames(), output=output) as second:
        second.run()
    third = engine.bind(input=frames(), output=output)
    del third
    gc.collect()
    engine.bind(input=frames(), output=output).run()


def test_an_input_may_be_shared(engine):
    frame = ExternalBuffer.wrap(frames())
    bindings = [engine.bind(input=frame) for _ in range(3)]
    for bound in bindings:
        bound.run()
        check(bound.detections(), frame.numpy())


def test_bindings_keep_their_memory_alive(engine):
    bound = engine.bind(input=frames(seed=5))  # the arrays are the binding's alone now
    gc.collect()
    bound.run()
    found = bound.detections()
    del bound
    gc.collect()
    check(found, frames(seed=5))


def test_freed_moved_and_busy_buffers_are_refused(engine):
    buffer = ExternalBuffer.allocate((BATCH, 4, 6, 3))
    bound = engine.bind(input=buffer)
    with buffer.for_host(), pytest.raises(BufferError, match="capture"):
        bound.run()
    bound.run()


def test_a_tensor_whose_memory_moved_is_refused(engine):
    torch = pytest.importorskip("torch")
    tensor = torch.zeros((BATCH, 4, 6, 3), dtype=torch.uint8)
    moved = engine.bind(input=tensor)
    tensor.set_(torch.ones((BATCH, 4, 6, 3), dtype=torch.uint8))
    with pytest.raises(BufferError, match="moved"):
        moved.run()


def test_one_binding_from_many_threads(engine):
    given_frames = frames(seed=9)
    bound, failures = engine.bind(input=given_frames), []

    def work():
        try:
            for _ in range(50):
                bound.run()
        except Exception as error:  # reported below
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    check(bound.detections(), given_frames)


def test_calls_and_bindings_side_by_side(engine):
    """Each thread gets its own frame's detections, whoever else runs."""
    failures = []

    def work(seed):
        try:
            mine = frames(seed=seed)
            bound = engine.bind(input=mine)
            for _ in range(20):
                check(engine(mine), mine)
                bound.run()
                check(bound.detections(), mine)
        except BaseException as error:  # reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def run_in_child(engine, given_frames):
    """What an engine's call in a forked child comes to: "boxes", "refused", or None if it came to nothing."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        try:
            check(engine(given_frames), given_frames)
            os.write(write, b"boxes")
        except UnsupportedError as error:
            os.write(write, b"refused" if "forked" in str(error) else b"")
        finally:
            os._exit(0)
    os.close(write)
    with open(read, "rb") as pipe:
        answer = pipe.read().decode()
    os.waitpid(child, 0)
    return answer or None


@pytest.mark.skipif(use_available_cpus() < 2, reason="one thread runs no pool")
@pytest.mark.filterwarnings("ignore:This process")  # Python 3.12 warns of forks with threads
def test_a_forked_process_refuses_instead_of_waiting_for_ever(engine):
    answers = []

    def work():
        answers.append(run_in_child(engine, frames()))  # no kernel has run in this thread
        check(engine(frames()), frames())
        answers.append(run_in_child(engine, frames()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert answers == ["boxes", "refused"]


def test_streams_are_cudas(engine):
    with pytest.raises(UnsupportedError, match="run_async needs an engine compiled for CUDA"):
        engine.bind(input=frames()).run_async()
    with pytest.raises(UnsupportedError, match="launch needs an engine compiled for CUDA"):
        engine.bind(input=frames()).launch(1)
