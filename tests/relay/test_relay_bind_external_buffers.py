"""Caller-owned buffers on GraphExecutor and virtual machine: used in place, refused with one clear line."""

from types import SimpleNamespace

import numpy as np
import pytest
import tvm
from preprocess_frames import INPUT, random_frame
from relay_cases import TARGET, build, executor, image_model
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy.copies.measure import measure
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


@pytest.fixture(scope="module")
def compiled():
    """main, and its executable for the virtual machine."""
    mod = FusePreprocess(FRAME, PREPROCESS)(image_model(SHAPE))
    with tvm.transform.PassContext(opt_level=3):
        return mod["main"], relay.vm.compile(mod, TARGET)


def test_the_virtual_machine_reads_and_writes_where_the_caller_has_it(compiled):
    main, executable = compiled
    inputs, outputs = buffers()
    bound = bind_external_buffers(tvm.runtime.vm.VirtualMachine(executable, tvm.cpu()), inputs, outputs, main)
    frame, out = np.asarray(inputs["frame"]), np.asarray(outputs[0])
    for seed in range(3):
        frame[...] = random_frame(FRAME, 48, 80, seed)[0]
        bound.run()
        np.testing.assert_array_equal(out, 2 * reference(frame, FRAME, PREPROCESS, INPUT))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"frame": unaligned((48, 80, 3), np.uint8)}, "16 bytes past a boundary of 64"),
        ({"out": tz.ExternalBuffer.allocate((1, 3, 8, 8), "float32")}, r"output 0 is float32 \(1, 3, 8, 8\)"),
        ({"out": read_only(SHAPE, np.float32)}, "output 0 is read-only"),
    ],
)
def test_what_the_virtual_machine_cannot_take(compiled, changes, message):
    main, executable = compiled
    machine = tvm.runtime.vm.VirtualMachine(executable, tvm.cpu())
    inputs, outputs = buffers(**changes)
    with pytest.raises(BufferError, match=message):
        bind_external_buffers(machine, inputs, outputs, main)
    with pytest.raises(BufferError, match="give main"):
        bind_external_buffers(machine, inputs, outputs)
    with pytest.raises(BufferError, match="inputs are frame; got none"):
        bind_external_buffers(machine, {}, outputs, main)


class CudaExecutor:
    """A GraphExecutor as it looks on a CUDA device: tensors are there, and it notes what it is given."""

    def __init__(self):
        self.module = SimpleNamespace(implements_function=lambda name: True)
        self.given = []

    def get_num_outputs(self):
        return 1

    def get_input_index(self, name):
        return 0 if name == "data" else -1

    def get_input(self, name):
        return SimpleNamespace(shape=(4, 16), dtype="float32", device=tvm.cuda(0))

    get_output = get_input

    def set_input_zero_copy(self, name, tensor):
        self.given.append((name, tensor))

    set_output_zero_copy = set_input_zero_copy

    def run(self):
        pass


def cuda_buffer(kind):
    host = np.asarray(tz.ExternalBuffer.allocate((4, 16), "float32"))
    return tz.ExternalBuffer.from_pointer(host.ctypes.data, (4, 16), "float32", kind=kind, owner=host)


@pytest.mark.parametrize("kind", ["managed", "mapped", "device"])
def test_memory_that_the_gpu_sees_is_bound_as_its_own(kind):
    """As far as a machine without GPU goes: the very address, as a tensor of the CUDA device."""
    program, data, out = CudaExecutor(), cuda_buffer(kind), cuda_buffer(kind)
    bind_external_buffers(program, {"data": data}, [out]).run()
    (name, given), (index, taken) = program.given
    assert (name, index) == ("data", 0)
    for tensor, buffer in ((given, data), (taken, out)):
        assert tensor.device == tvm.cuda(0)
        assert tensor.handle.contents.data + tensor.handle.contents.byte_offset == buffer.address


def test_host_memory_on_a_gpu_and_gpu_memory_on_a_cpu_are_refused(program):
    host = tz.ExternalBuffer.allocate((4, 16), "float32")
    with pytest.raises(BufferError, match="is host memory; the program runs on CUDA: give memory that the GPU sees"):
        bind_external_buffers(CudaExecutor(), {"data": host}, [cuda_buffer("managed")])
    _, outputs = buffers()
    frame = np.asarray(tz.ExternalBuffer.allocate((48, 80, 3)))
    device = tz.ExternalBuffer.from_pointer(frame.ctypes.data, frame.shape, kind="device", owner=frame)
    with pytest.raises(BufferError, match="is device memory; the program runs on the CPU: give host memory"):
        bind_external_buffers(program, {"frame": device}, outputs)
    managed = tz.ExternalBuffer.from_pointer(frame.ctypes.data, frame.shape, kind="managed", owner=frame)
    frame[...] = random_frame(FRAME, 48, 80, 0)[0]
    bind_external_buffers(program, {"frame": managed}, outputs).run()
    np.testing.assert_array_equal(np.asarray(outputs[0]), 2 * reference(frame, FRAME, PREPROCESS, INPUT))


def test_runs_copy_nothing_and_allocate_no_tensor(monkeypatch):
    """Counted from outside, on one thread; the virtual machine's C++ makes some 3 KB of small objects a run."""
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    names = ("on_graph_executor", "on_virtual_machine", "copied")
    graph, machine, copied = (measure(f"counted_programs:{name}", {}, 5)[0].per_frame() for name in names)
    assert (graph["allocations"], graph["copies"]) == (0, 0)
    assert machine["copies"] == 0 and machine["allocated_bytes"] < 48 * 80 * 3  # the smallest tensor is the frame
    assert (copied["allocations"], copied["copies"]) == (1, 1)  # both would be seen
