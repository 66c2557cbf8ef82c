"""Caller-owned buffers on GraphExecutor and virtual machine: used in place, refused with one clear line."""

import ctypes
import gc
from types import SimpleNamespace

import numpy as np
import pytest
import tvm
from preprocess_frames import INPUT, random_frame
from relay_cases import TARGET, build, executor, image_model
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy.copies.measure import measure
from tvm_zerocopy.errors import BufferError, UnsupportedError
from tvm_zerocopy.passes.relay import BindExternalBuffers, FusePreprocess, bind_external_buffers
from tvm_zerocopy.reference import preprocess as reference

FRAME, PREPROCESS = tz.Frame("bgr8", 48, 80), tz.Preprocess()
SHAPE = (1, 3, *INPUT)


class OnGraphExecutor:
    """A program of the GraphExecutor, made anew by ``executor``."""

    def __init__(self, mod):
        self.library = build(mod)

    def executor(self):
        return executor(self.library)[0]

    @staticmethod
    def bind(program, inputs, outputs):
        return bind_external_buffers(program, inputs, outputs)


class OnVirtualMachine:
    """The same of Relay's virtual machine."""

    def __init__(self, mod):
        self.main = mod["main"]
        with tvm.transform.PassContext(opt_level=3):
            self.executable = relay.vm.compile(mod, TARGET)

    def executor(self):
        return tvm.runtime.vm.VirtualMachine(self.executable, tvm.cpu())

    def bind(self, program, inputs, outputs):
        return bind_external_buffers(program, inputs, outputs, self.main)


ROADS = [OnGraphExecutor, OnVirtualMachine]


@pytest.fixture(scope="module", params=ROADS)
def road(request):
    return request.param(FusePreprocess(FRAME, PREPROCESS)(image_model(SHAPE)))


def buffers(**changes):
    given = {"frame": tz.ExternalBuffer.allocate((48, 80, 3)), "out": tz.ExternalBuffer.allocate(SHAPE, "float32")}
    given.update(changes)
    return {"frame": given["frame"]}, [given["out"]]


def check_result(frame, out):
    np.testing.assert_array_equal(np.asarray(out), 2 * reference(np.asarray(frame), FRAME, PREPROCESS, INPUT))


def test_reads_and_writes_where_the_caller_has_it(road):
    inputs, outputs = buffers()
    bound = road.bind(road.executor(), inputs, outputs)
    for seed in range(3):
        np.asarray(inputs["frame"])[...] = random_frame(FRAME, 48, 80, seed)[0]
        bound.run()
        check_result(inputs["frame"], outputs[0])
    # what the caller gave, at the caller's address; what the executor had allocated is not in use
    assert bound.outputs[0].address == outputs[0].address


def test_bindings_of_one_executor_keep_apart(road):
    program, bindings = road.executor(), []
    for seed in range(2):
        inputs, outputs = buffers()
        np.asarray(inputs["frame"])[...] = random_frame(FRAME, 48, 80, seed)[0]
        bindings.append((road.bind(program, inputs, outputs), inputs["frame"], outputs[0]))
    for bound, frame, out in [*bindings, *bindings]:
        np.asarray(out)[...] = 0
        bound.run()
        check_result(frame, out)


def test_bindings_keep_their_memory_alive(road):
    inputs, outputs = buffers()
    bound, out = road.bind(road.executor(), inputs, outputs), np.asarray(outputs[0])
    frame = random_frame(FRAME, 48, 80, 1)[0]
    np.asarray(inputs["frame"])[...] = frame
    del inputs, outputs
    gc.collect()
    bound.run()
    check_result(frame, out)


def unaligned(shape, dtype):
    memory = np.zeros(int(np.prod(shape)) * np.dtype(dtype).itemsize + 128, np.uint8)
    start = -memory.ctypes.data % 64 + 16
    return memory[start : start + len(memory) - 128].view(dtype).reshape(shape)


def read_only(shape, dtype):
    array = np.asarray(tz.ExternalBuffer.allocate(shape, dtype))
    array.flags.writeable = False
    return array


def freed(shape, dtype):
    buffer = tz.ExternalBuffer.allocate(shape, dtype)
    buffer.free()
    return buffer


def elsewhere(shape, dtype):
    host = np.asarray(tz.ExternalBuffer.allocate(shape, dtype))
    return tz.ExternalBuffer.from_pointer(host.ctypes.data, shape, dtype, kind="device", owner=host)


def transposed(shape, dtype):
    return np.asarray(tz.ExternalBuffer.allocate(shape[::-1], dtype)).transpose()


PIXELS, IMAGE = ((48, 80, 3), "uint8"), (SHAPE, "float32")
REFUSED = {
    "unaligned input": ({"frame": unaligned(*PIXELS)}, "input frame is at .* 16 bytes past a boundary of 64; align it"),
    "unaligned output": ({"out": unaligned(*IMAGE)}, "output 0 is at .* 16 bytes past a boundary"),
    "input shape": (
        {"frame": np.zeros((48, 80, 4), np.uint8)},
        r"input frame is uint8 \(48, 80, 4\); the program has uint8",
    ),
    "output shape": ({"out": np.zeros((1, 3, 8, 8), np.float32)}, r"output 0 is float32 \(1, 3, 8, 8\); the program"),
    "too few axes": ({"out": np.zeros(SHAPE[1:], np.float32)}, "output 0 is float32 .*; the program has float32"),
    "input dtype": ({"frame": np.zeros((48, 80, 3), np.float32)}, "input frame is float32 .*; the program has uint8"),
    "output dtype": ({"out": np.zeros(SHAPE)}, "output 0 is float64 .*; the program has float32"),
    "padded input": (
        {"frame": tz.ExternalBuffer.allocate((48, 80, 3), pitch=256)},
        "input frame has strides .*; a Relay program takes dense",
    ),
    "transposed output": ({"out": transposed(*IMAGE)}, "output 0 has strides .*; a Relay program takes dense"),
    "flipped input": (
        {"frame": np.zeros((48, 80, 3), np.uint8)[::-1]},
        "input frame cannot be used.*negative",
    ),
    "read-only output": ({"out": read_only(*IMAGE)}, "output 0 is read-only"),
    "freed input": ({"frame": freed(*PIXELS)}, "input frame cannot be used in place: this buffer has been freed"),
    "freed output": ({"out": freed(*IMAGE)}, "output 0 cannot be used in place: this buffer has been freed"),
    "input on a GPU": ({"frame": elsewhere(*PIXELS)}, "input frame is device memory; .* the CPU: give host memory"),
    "output on a GPU": ({"out": elsewhere(*IMAGE)}, "output 0 is device memory; .* the CPU: give host memory"),
    "no buffer": ({"frame": None}, "input frame cannot be used in place: NoneType shares no memory"),
    "objects": ({"out": np.zeros(SHAPE, object)}, "output 0 cannot be used in place: dtype object"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_bound_is_one_clear_line(road, case):
    changes, message = REFUSED[case]
    with pytest.raises(BufferError, match=message) as error:
        road.bind(road.executor(), *buffers(**changes))
    assert "\n" not in str(error.value)


def test_a_read_only_input_is_read(road):
    frame, out = read_only(*PIXELS), tz.ExternalBuffer.allocate(*IMAGE)
    road.bind(road.executor(), {"frame": frame}, [out]).run()
    check_result(frame, out)


def test_names_and_numbers_must_be_the_programs(road):
    inputs, outputs = buffers()
    program = road.executor()
    with pytest.raises(BufferError, match="no input 'picture'"):
        road.bind(program, {"picture": inputs["frame"]}, outputs)
    for given in (outputs * 2, []):
        with pytest.raises(BufferError, match=f"has 1 outputs; {len(given)} buffers"):
            road.bind(program, inputs, given)


def test_memory_that_outputs_share_is_refused(road):
    memory = tz.ExternalBuffer.allocate((int(np.prod(SHAPE)) * 4,))
    with pytest.raises(BufferError, match="output 0 overlaps input frame; give each memory of its own"):
        road.bind(road.executor(), {"frame": memory.view((48, 80, 3))}, [memory.view(SHAPE, "float32")])


def test_buffers_are_looked_at_before_every_run(road):
    inputs, outputs = buffers()
    bound = road.bind(road.executor(), inputs, outputs)
    bound.run()
    with inputs["frame"].for_host(), pytest.raises(BufferError, match="capture is writing it"):
        bound.run()
    bound.run()
    outputs[0].free()
    with pytest.raises(BufferError, match="has been freed"):
        bound.run()


# Results of x and y = relu(x) that share memory, by Relay and by numpy.
SHARED = {
    "twice": (lambda x, y: [y, y, y], lambda x, y: [y, y, y]),
    "a parameter": (lambda x, y: [y, x], lambda x, y: [y, x]),
    "a parameter alone": (lambda x, y: [x], lambda x, y: [x]),
    "a view of a parameter": (lambda x, y: [relay.reshape(x, (64,))], lambda x, y: [x.ravel()]),
    "a view of another": (lambda x, y: [relay.reshape(y, (64,)), y], lambda x, y: [y.ravel(), y]),
    "a view of what is read again": (
        lambda x, y: [relay.reshape(y, (64,)), relay.exp(y)],
        lambda x, y: [y.ravel(), np.exp(y)],
    ),
    "computed twice": (lambda x, y: [relay.exp(x), relay.exp(x)], lambda x, y: [np.exp(x)] * 2),
    "the same view twice": (lambda x, y: [relay.reshape(y, (64,)) for _ in "12"], lambda x, y: [y.ravel()] * 2),
}


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("make", ROADS)
def test_results_that_share_memory(make, kind):
    """Refused by the first run instead of never written; right after the pass BindExternalBuffers, which says so."""
    made, expected = SHARED[kind]
    x = relay.var("x", shape=(4, 16))
    results = made(x, relay.nn.relu(x))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.Tuple(results) if len(results) > 1 else results[0]))
    given = np.asarray(tz.ExternalBuffer.allocate((4, 16), "float32"))
    given[...] = np.random.default_rng(0).normal(size=given.shape)
    wanted = expected(given, np.maximum(given, 0))
    outputs = [tz.ExternalBuffer.allocate(each.shape, "float32") for each in wanted]
    as_it_is = make(mod)
    with pytest.raises(BufferError, match="does not write .*; run the pass BindExternalBuffers before") as error:
        as_it_is.bind(as_it_is.executor(), {"x": given}, outputs).run()
    assert "\n" not in str(error.value)

    with pytest.warns(UserWarning, match="result . .*; a kernel that copies it was added"):
        separate = make(BindExternalBuffers()(mod))
    bound = separate.bind(separate.executor(), {"x": given}, outputs)
    for _ in range(2):
        given += 0.5
        bound.run()
        for output, want in zip(outputs, expected(given, np.maximum(given, 0))):
            np.testing.assert_allclose(np.asarray(output), want, rtol=1e-6)


def test_results_of_their_own_stay_as_they_are():
    x = relay.var("x", shape=(4, 16))
    parts = relay.split(relay.nn.relu(x), 2, axis=1)
    for made in (relay.Tuple([parts[0], relay.reshape(parts[1], (32,))]), parts.astuple(), relay.exp(x)):
        mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([x], made)))
        assert tvm.ir.structural_equal(BindExternalBuffers()(mod), mod)


def test_a_constant_result_is_refused():
    x, constant = relay.var("x", shape=(4, 16)), relay.const(np.ones(3, np.float32))
    mod = tvm.IRModule.from_expr(relay.Function([x], relay.Tuple([relay.nn.relu(x), constant])))
    with pytest.raises(UnsupportedError, match="result 1 of main is a constant"):
        BindExternalBuffers()(mod)


def test_the_virtual_machine_needs_all_inputs_and_its_function():
    mod = tvm.IRModule.from_expr(relay.Function([relay.var("x", shape=(4, 16))], relay.ones((4,), "float32")))
    road = OnVirtualMachine(FusePreprocess(FRAME, PREPROCESS)(image_model(SHAPE)))
    inputs, outputs = buffers()
    with pytest.raises(BufferError, match="inputs are frame; got none"):
        road.bind(road.executor(), {}, outputs)
    with pytest.raises(BufferError, match="give main"):
        bind_external_buffers(road.executor(), inputs, outputs)
    with pytest.raises(BufferError, match="not the function that was compiled: it has no parameter 'frame'"):
        bind_external_buffers(road.executor(), inputs, outputs, mod["main"])
    sized = relay.Function([relay.var("frame", shape=(relay.Any(), 80, 3), dtype="uint8")], relay.const(1.0))
    with pytest.raises(UnsupportedError, match="no fixed shape"):
        bind_external_buffers(road.executor(), inputs, outputs, sized)


def test_weights_that_were_bound_to_constants_are_no_inputs_of_the_virtual_machine():
    x, weight = relay.var("x", shape=(4, 16)), relay.var("weight", shape=(4, 16))
    mod = tvm.IRModule.from_expr(relay.Function([x, weight], relay.add(x, weight)))
    with tvm.transform.PassContext(opt_level=3):
        executable = relay.vm.compile(mod, TARGET, params={"weight": np.full((4, 16), 3, np.float32)})
    given, out = (tz.ExternalBuffer.allocate((4, 16), "float32") for _ in range(2))
    bind_external_buffers(tvm.runtime.vm.VirtualMachine(executable, tvm.cpu()), {"x": given}, [out], mod["main"]).run()
    assert (np.asarray(out) == 3).all()


class CudaExecutor:
    """A GraphExecutor as it looks on a CUDA device: tensors are there, and it notes what it is given."""

    def __init__(self):
        self.module = SimpleNamespace(implements_function=lambda name: True)
        self.given = {}

    def get_num_outputs(self):
        return 1

    def get_input_index(self, name):
        return 0 if name == "data" else -1

    def get_input(self, name):
        return SimpleNamespace(shape=(4, 16), dtype="float32", device=tvm.cuda(0))

    get_output = get_input

    def set_input_zero_copy(self, name, tensor):
        self.given[name] = tensor

    set_output_zero_copy = set_input_zero_copy

    def run(self):
        ctypes.memset(address_of(self.given[0]), 0, 4 * 4 * 16)


def address_of(tensor):
    return tensor.handle.contents.data + tensor.handle.contents.byte_offset


@pytest.mark.parametrize("kind", ["managed", "mapped", "device"])
def test_memory_that_the_gpu_sees_is_bound_as_its_own(cuda, kind):
    """As far as a machine without GPU goes: the very address, as a tensor of the CUDA device; the host waits for it."""
    program = CudaExecutor()
    data, out = (tz.ExternalBuffer.allocate((4, 16), "float32", kind=kind) for _ in range(2))
    bind_external_buffers(program, {"data": data}, [out]).run()
    assert list(program.given) == ["data", 0]
    for tensor, buffer in zip(program.given.values(), (data, out)):
        assert tensor.device == tvm.cuda(0) and address_of(tensor) == buffer.address
    del cuda.calls[:]
    out.synchronize()
    assert len(cuda.called("cudaEventSynchronize")) == (1 if kind == "device" else 0)


def test_host_memory_on_a_gpu_is_refused(cuda):
    host = tz.ExternalBuffer.allocate((4, 16), "float32")
    managed = tz.ExternalBuffer.allocate((4, 16), "float32", kind="managed")
    with pytest.raises(BufferError, match="is host memory; the program runs on CUDA: give memory that the GPU sees"):
        bind_external_buffers(CudaExecutor(), {"data": host}, [managed])


@pytest.mark.parametrize("kind", ["pinned", "mapped", "managed"])
def test_memory_of_both_is_used_by_programs_on_the_cpu(cuda, road, kind):
    inputs, outputs = buffers(
        frame=tz.ExternalBuffer.allocate(*PIXELS, kind=kind), out=tz.ExternalBuffer.allocate(*IMAGE, kind=kind)
    )
    with inputs["frame"].for_host() as array:
        array[...] = random_frame(FRAME, 48, 80, 0)[0]
    road.bind(road.executor(), inputs, outputs).run()
    with inputs["frame"].for_host() as frame, outputs[0].for_host() as out:
        check_result(frame, out)


def test_runs_copy_nothing_and_allocate_no_tensor(monkeypatch):
    """Counted from outside, on one thread; the virtual machine's C++ makes some 3 KB of small objects a run."""
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    names = ("on_graph_executor", "on_virtual_machine", "copied")
    graph, machine, copied = (measure(f"counted_programs:{name}", {}, 5)[0].per_frame() for name in names)
    assert (graph["allocations"], graph["copies"]) == (0, 0)
    assert machine["copies"] == 0 and machine["allocated_bytes"] < 48 * 80 * 3  # the smallest tensor is the frame
    assert (copied["allocations"], copied["copies"]) == (1, 1)  # both would be seen
