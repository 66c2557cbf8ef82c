"""Caller-owned buffers on the GraphExecutor: read and written in place, refused with one clear line."""

import numpy as np
import pytest
from preprocess_frames import INPUT, random_frame
from relay_cases import build, executor, image_model

import tvm_zerocopy as tz
from tvm_zerocopy.errors import BufferError
from tvm_zerocopy.passes.relay import FusePreprocess, bind_external_buffers
from tvm_zerocopy.reference import preprocess as reference

FRAME, PREPROCESS = tz.Frame("bgr8", 48, 80), tz.Preprocess()
SHAPE = (1, 3, *INPUT)


@pytest.fixture(scope="module")
def library():
    return build(FusePreprocess(FRAME, PREPROCESS)(image_model(SHAPE)))


@pytest.fixture
def program(library):
    return executor(library)[0]


def buffers(**changes):
    given = {"frame": tz.ExternalBuffer.allocate((48, 80, 3)), "out": tz.ExternalBuffer.allocate(SHAPE, "float32")}
    given.update(changes)
    return {"frame": given["frame"]}, [given["out"]]


def test_reads_and_writes_where_the_caller_has_it(program):
    inputs, outputs = buffers()
    bound = bind_external_buffers(program, inputs, outputs)
    frame, out = np.asarray(inputs["frame"]), np.asarray(outputs[0])
    for seed in range(3):
        frame[...] = random_frame(FRAME, 48, 80, seed)[0]
        bound.run()
        np.testing.assert_array_equal(out, 2 * reference(frame, FRAME, PREPROCESS, INPUT))
    # what the caller gave, at the caller's address; what the executor had allocated is not in use
    assert bound.outputs[0].address == outputs[0].address == out.ctypes.data


def test_binds_again_to_other_buffers(program):
    results = []
    for seed in range(2):
        inputs, outputs = buffers()
        np.asarray(inputs["frame"])[...] = random_frame(FRAME, 48, 80, seed)[0]
        bind_external_buffers(program, inputs, outputs).run()
        results.append((np.asarray(inputs["frame"]), np.asarray(outputs[0])))
    for frame, out in results:
        np.testing.assert_array_equal(out, 2 * reference(frame, FRAME, PREPROCESS, INPUT))


def unaligned(shape, dtype):
    memory = np.zeros(int(np.prod(shape)) * np.dtype(dtype).itemsize + 128, np.uint8)
    start = -memory.ctypes.data % 64 + 16
    return memory[start : len(memory) - 128 + start].view(dtype).reshape(shape)


def read_only(shape, dtype):
    array = np.asarray(tz.ExternalBuffer.allocate(shape, dtype))
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frame": unaligned((48, 80, 3), np.uint8)}, "input frame is at .* 16 bytes past a boundary of 64; align it"),
        ({"out": unaligned(SHAPE, np.float32)}, "output 0 is at .* 16 bytes past a boundary"),
        ({"frame": np.zeros((48, 80, 4), np.uint8)}, r"input frame is uint8 \(48, 80, 4\); the program has uint8"),
        ({"frame": np.zeros((48, 80, 3), np.float32)}, "input frame is float32"),
        ({"frame": tz.ExternalBuffer.allocate((48, 80, 3), pitch=256)}, "has strides .*; a Relay program takes dense"),
        ({"out": read_only(SHAPE, np.float32)}, "output 0 is read-only"),
    ],
    ids=["unaligned input", "unaligned output", "shape", "dtype", "strides", "read-only"],
)
def test_what_cannot_be_bound_is_one_clear_line(program, changes, message):
    inputs, outputs = buffers(**changes)
    with pytest.raises(BufferError, match=message) as error:
        bind_external_buffers(program, inputs, outputs)
    assert "\n" not in str(error.value)


def test_names_and_numbers_must_be_the_programs(program):
    inputs, outputs = buffers()
    with pytest.raises(BufferError, match="no input 'picture'"):
        bind_external_buffers(program, {"picture": inputs["frame"]}, outputs)
    with pytest.raises(BufferError, match="has 1 outputs; 2 buffers"):
        bind_external_buffers(program, inputs, outputs * 2)
