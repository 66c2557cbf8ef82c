"""Relax's main as one host function: same results, planned memory, views instead of copies."""

import json

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax, s_tir, tirx
from tvm.script import ir as I
from tvm.script import relax as R
from tvm.script import tirx as T

from tvm_zerocopy.passes.call_sequence import LoweringError
from tvm_zerocopy.passes.lower_main import LowerMainToPrimFunc
from tvm_zerocopy.passes.view_rules import VIEW_LEGALIZE_MAP
from tvm_zerocopy.program import build_module

TARGET = tvm.target.Target("llvm")


def lowered(mod, views=True):
    steps = [
        relax.transform.LegalizeOps(VIEW_LEGALIZE_MAP if views else None),
        relax.transform.AnnotateTIROpPattern(),
        relax.transform.FuseOps(),
        relax.transform.FuseTIR(),
        LowerMainToPrimFunc(),
    ]
    with TARGET:
        return tvm.transform.Sequential(steps)(mod)


def program_of(mod):
    return json.loads(mod.attrs["tz.program"])


def copies(mod):
    return [call["kernel"] for call in program_of(mod)["calls"] if call["copy"]]


def run(mod, *inputs, function="main", extra=()):
    """Outputs of a lowered module, on poisoned outputs and workspace."""
    program = program_of(mod)
    outputs = [tvm.runtime.tensor(np.full(o["shape"], 99, o["dtype"])) for o in program["outputs"]]
    workspace = tvm.runtime.tensor(np.full(max(program["workspace_bytes"], 1), 255, "uint8"))
    arguments = [tvm.runtime.tensor(np.asarray(value)) for value in inputs]
    build_module(mod, TARGET)[function](*arguments, *outputs, mod.attrs["tz.weights"], workspace, *extra)
    return [output.numpy() for output in outputs]


def check(mod, *inputs, copied=()):
    """Equal to the VM's results."""
    mod_lowered = lowered(mod)
    assert copies(mod_lowered) == list(copied)
    vm = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    expected = vm["main"](*(tvm.runtime.tensor(np.asarray(value)) for value in inputs))
    expected = [expected] if isinstance(expected, tvm.runtime.Tensor) else list(expected)
    got = run(mod_lowered, *inputs)
    for result, want in zip(got, expected):
        np.testing.assert_allclose(result, want.numpy(), rtol=1e-6, atol=1e-6)
    return mod_lowered


def sample(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype("float32")


def network(build, *shapes):
    """A module whose main is ``build(builder, inputs...)``."""
    builder = relax.BlockBuilder()
    inputs = [relax.Var(f"x{index}", relax.TensorType(shape, "float32")) for index, shape in enumerate(shapes)]
    with builder.function("main", inputs):
        with builder.dataflow():
            result = builder.emit_output(build(builder, *inputs))
        builder.emit_func_output(result)
    return builder.get()


def network_of(kernel, size, times=1):
    """A module whose main calls a kernel from ``size`` floats to ``size`` floats, on its own result again."""
    builder = relax.BlockBuilder()
    ty = relax.TensorType((size,), "float32")
    value = relax.Var("x", ty)
    name = builder.add_func(kernel, "kernel")
    with builder.function("main", [value]):
        with builder.dataflow():
            for _ in range(times - 1):
                value = builder.emit(relax.call_tir(name, [value], ty))
            result = builder.emit_output(relax.call_tir(name, [value], ty))
        builder.emit_func_output(result)
    return builder.get()


X = (1, 16, 4, 4)


def test_constants_are_stored_once_and_aligned():
    weight = sample(16, 16, 3, 3)

    def build(bb, x):
        for _ in range(3):
            x = bb.emit(relax.op.nn.conv2d(x, relax.const(weight.copy()), padding=1))
        return bb.emit(relax.op.add(x, relax.const(sample(16, 1, 1))))

    mod = check(network(build, X), sample(*X))
    program = program_of(mod)
    assert program["weights_bytes"] == weight.nbytes + 64
    offsets = {a["offset"] for call in program["calls"] for a in call["inputs"] if a["in"] == "weights"}
    assert offsets == {0, weight.nbytes}


def test_concat_is_written_in_place_and_its_parts_read_there():
    def build(bb, x):
        a, b = bb.emit(relax.op.exp(x)), bb.emit(relax.op.tanh(x))
        pool = bb.emit(relax.op.nn.max_pool2d(a, (3, 3), padding=1))
        return bb.emit(relax.op.nn.max_pool2d(bb.emit(relax.op.concat([a, b, pool], 1)), (3, 3), padding=1))

    mod = check(network(build, X), sample(*X))
    calls = program_of(mod)["calls"]
    assert len(calls) == 4  # three producers, one consumer
    size = np.prod(X) * 4
    start = calls[-1]["inputs"][0]["offset"]
    assert sorted(call["outputs"][0]["offset"] for call in calls[:3]) == [start, start + size, start + 2 * size]


def test_halves_of_a_tensor_stay_where_they_are_in_a_later_concat():
    """YOLOv8's C2f block: split in two, transform the second, concatenate all three."""

    def build(bb, x):
        y = bb.emit(relax.op.nn.max_pool2d(x, (3, 3), padding=1))
        halves = bb.emit(relax.op.split(y, 2, axis=1))
        first, second = bb.emit(relax.TupleGetItem(halves, 0)), bb.emit(relax.TupleGetItem(halves, 1))
        third = bb.emit(relax.op.nn.max_pool2d(second, (3, 3), padding=1))
        joined = bb.emit(relax.op.concat([first, second, third], 1))
        return bb.emit(relax.op.nn.avg_pool2d(joined, (2, 2)))

    mod = check(network(build, X), sample(*X))
    assert len(program_of(mod)["calls"]) == 3


@pytest.mark.parametrize(
    "parts, copied",
    [
        (lambda a, b, x: [a, a], ["copy_float32_256"]),  # in two places at once
        (lambda a, b, x: [x, a], ["copy_float32_256"]),  # an input stays where the caller has it
        (lambda a, b, x: [a, relax.const(sample(*X))], ["copy_float32_256"]),
        (lambda a, b, x: [b, a, b], ["copy_float32_256"]),
    ],
)
def test_what_cannot_be_placed_is_copied_once(parts, copied):
    def build(bb, x):
        a, b = bb.emit(relax.op.exp(x)), bb.emit(relax.op.tanh(x))
        return bb.emit(relax.op.concat(parts(a, b, x), 1))

    check(network(build, X), sample(*X), copied=copied)


def test_a_part_of_a_tensor_alone_is_copied():
    """The half's neighbour would overwrite what is beside it."""

    def build(bb, x):
        halves = bb.emit(relax.op.split(bb.emit(relax.op.exp(x)), 2, axis=1))
        second = bb.emit(relax.TupleGetItem(halves, 1))
        return bb.emit(relax.op.concat([second, bb.emit(relax.op.tanh(x))], 1))

    check(network(build, X), sample(*X), copied=["copy_float32_128"])


def test_a_concat_in_a_concat_is_placed_in_the_outer_one():
    def build(bb, x):
        a, b, c = (bb.emit(op(x)) for op in (relax.op.exp, relax.op.tanh, relax.op.sigmoid))
        return bb.emit(relax.op.concat([c, bb.emit(relax.op.concat([a, b], 1))], 1))

    mod = check(network(build, X), sample(*X))
    assert program_of(mod)["workspace_bytes"] == 0  # everything is written into the output


def test_concat_across_rows_is_a_kernel():
    mod = check(network(lambda bb, x: bb.emit(relax.op.concat([bb.emit(relax.op.exp(x)), x], 3)), X), sample(*X))
    assert any("concat" in call["kernel"] for call in program_of(mod)["calls"])


def test_outputs_that_are_inputs_constants_or_twice_the_same():
    def build(bb, x):
        a = bb.emit(relax.op.exp(x))
        return bb.emit(relax.Tuple([a, x, relax.const(sample(3)), bb.emit(relax.op.reshape(a, (16, 16))), a]))

    check(network(build, X), sample(*X), copied=[f"copy_float32_{n}" for n in (256, 3, 256, 256)])


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_graph_of_views_gives_the_vms_results(data):
    """Random elementwise kernels, splits, reshapes and concats over each other's results."""
    plan = data.draw(st.lists(st.tuples(st.sampled_from("ekscr"), st.integers(0, 99), st.integers(0, 99)), max_size=8))

    def build(bb, x):
        values = [x]
        for kind, first, second in plan:
            a, b = values[first % len(values)], values[second % len(values)]
            channels = int(a.ty.shape[1])
            if kind == "s" and channels % 2 == 0:
                halves = bb.emit(relax.op.split(a, 2, axis=1))
                values += [bb.emit(relax.TupleGetItem(halves, 0)), bb.emit(relax.TupleGetItem(halves, 1))]
            elif kind == "c" and channels < 64:
                values.append(bb.emit(relax.op.concat([a, b], 1)))
            elif kind == "r":
                flat = bb.emit(relax.op.reshape(a, (1, channels * 16)))
                values.append(bb.emit(relax.op.reshape(flat, (1, channels, 4, 4))))
            elif kind == "k":
                values.append(bb.emit(relax.op.nn.max_pool2d(a, (3, 3), padding=1)))
            else:
                values.append(bb.emit(relax.op.tanh(a)))
        return bb.emit(relax.Tuple(values[-3:]))

    mod = network(build, X)
    got = run(lowered(mod), sample(*X))
    expected = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())["main"](tvm.runtime.tensor(sample(*X)))
    for result, want in zip(got, expected):
        np.testing.assert_allclose(result, want.numpy(), rtol=1e-6, atol=1e-6)


# --- kernels of our own: strides, run-time sizes, temporaries, failures -----------------------------------------------


@I.ir_module
class Strided:
    @T.prim_func(private=True, s_tir=True)
    def widen(frame: T.handle, out: T.handle):
        T.func_attr({"tirx.noalias": True})
        rows, width, pitch = T.int64(), T.int64(), T.int64()
        source = T.match_buffer(frame, (rows, width), "uint8", strides=(pitch, 1), align=1)
        result = T.match_buffer(out, (T.int64(4), T.int64(4)), "float32")
        for i, j in T.grid(T.int64(4), T.int64(4)):
            with T.sblock("widen"):
                vi, vj = T.axis.remap("SS", [i, j])
                result[vi, vj] = T.Cast("float32", source[rows - T.int64(1) - vi % rows, vj % width])

    @R.function
    def main(frame: R.Tensor(("rows", "width"), "uint8")) -> R.Tensor((4, 4), "float32"):
        cls = Strided
        with R.dataflow():
            gv = R.call_tir(cls.widen, (frame,), out_ty=R.Tensor((4, 4), "float32"))
            R.output(gv)
        return gv


@pytest.fixture(scope="module")
def strided():
    mod = lowered(Strided)
    return mod, build_module(mod, TARGET)["main"]


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 6), width=st.integers(1, 9), padding=st.integers(0, 5), offset=st.integers(0, 7))
def test_frames_of_any_size_pitch_and_alignment_are_read_in_place(strided, rows, width, padding, offset):
    import tvm_ffi

    mod, main = strided
    memory = np.random.default_rng(rows).integers(0, 255, rows * (width + padding) + offset, dtype=np.uint8)
    frame = memory[offset:].reshape(rows, width + padding)[:, :width]
    tensor = tvm_ffi.from_dlpack(frame)
    assert tensor.data_ptr() == frame.ctypes.data
    output, workspace = tvm.runtime.empty((4, 4), "float32"), tvm.runtime.empty((1,), "uint8")
    main(tensor, output, mod.attrs["tz.weights"], workspace)
    i, j = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    np.testing.assert_array_equal(output.numpy(), frame[rows - 1 - i % rows, j % width])


def test_program_says_which_sizes_and_strides_are_free(strided):
    (frame,) = program_of(strided[0])["inputs"]
    assert frame == {"name": "frame", "shape": [None, None], "dtype": "uint8", "strides": [None, 1]}


def test_an_input_that_another_kernel_reads_as_dense_must_be_dense():
    @I.ir_module
    class Mixed:
        @T.prim_func(private=True, s_tir=True)
        def strided(x: T.handle, out: T.Buffer((T.int64(4), T.int64(4)), "uint8")):
            pitch = T.int64()
            a = T.match_buffer(x, (T.int64(4), T.int64(4)), "uint8", strides=(pitch, 1), align=1)
            for i, j in T.grid(T.int64(4), T.int64(4)):
                with T.sblock("copy"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    out[vi, vj] = a[vi, vj]

        @R.function
        def main(x: R.Tensor((4, 4), "uint8")):
            cls = Mixed
            with R.dataflow():
                a = R.call_tir(cls.strided, (x,), out_ty=R.Tensor((4, 4), "uint8"))
                b = R.add(x, a)
                R.output(b)
            return b

    (frame,) = program_of(LowerMainToPrimFunc()(relax.transform.LegalizeOps()(Mixed)))["inputs"]
    assert frame["strides"] is None


@T.prim_func(private=True, s_tir=True)
def padded_pool(x: T.Buffer((4096,), "float32"), y: T.Buffer((4096,), "float32")):
    T.func_attr({"tirx.noalias": True})
    padded = T.alloc_buffer((4098,), "float32")
    for i in T.parallel(4098):
        with T.sblock("pad"):
            vi = T.axis.spatial(4098, i)
            padded[vi] = T.if_then_else(vi >= 1 and vi < 4097, x[vi - 1], T.float32(0))
    for i in T.parallel(4096):
        with T.sblock("pool"):
            vi = T.axis.spatial(4096, i)
            y[vi] = padded[vi] + padded[vi + 1] + padded[vi + 2]


@T.prim_func(private=True, s_tir=True)
def only_positive(x: T.Buffer((4,), "float32"), y: T.Buffer((4,), "float32")):
    assert x[0] > T.float32(0), "x must be positive"
    for i in range(4):
        with T.sblock("copy"):
            vi = T.axis.spatial(4, i)
            y[vi] = x[vi]


def test_a_kernels_temporaries_are_planned_in_the_workspace():
    mod = lowered(network_of(padded_pool, 4096, times=2))
    program = program_of(mod)
    (call,) = program["calls"]  # FuseTIR made one kernel of both
    assert sorted(call["temporaries"]) == [16384, 16448, 16448]
    assert program["workspace_bytes"] == 16384 + 2 * 16448
    library = build_module(mod, TARGET)
    assert "TVMBackendAllocWorkspace" not in library.inspect_source()
    data = sample(4096)
    pad = lambda v: np.convolve(v, np.ones(3, "float32"), "same")  # noqa: E731
    np.testing.assert_allclose(run(mod, data)[0], pad(pad(data)), rtol=1e-5, atol=1e-5)


@T.prim_func(private=True, s_tir=True)
def one_task(x: T.Buffer((1024,), "float32"), y: T.Buffer((1024,), "float32")):
    for task in T.parallel(1):
        with T.sblock("task"):
            vt = T.axis.spatial(1, task)
            scratch = T.sblock_alloc_buffer((1024,), "float32")
            for i in range(1024):
                with T.sblock("twice"):
                    vi = T.axis.spatial(1024, i)
                    scratch[vi] = x[vi] * T.float32(2)
            for i in range(1024):
                with T.sblock("backwards"):
                    vi = T.axis.spatial(1024, i)
                    y[vi] = scratch[1023 - vi + vt]


def test_scratch_memory_is_freed_before_the_kernel_returns():
    """A parallel loop of one task is none any more when its scratch memory is allocated."""
    mod = lowered(network_of(one_task, 1024))
    data = sample(1024)
    np.testing.assert_array_equal(run(mod, data)[0], 2 * data[::-1])
    text = build_module(mod, TARGET).inspect_source()
    kernel = text[text.index("@tz.kernel(") :]
    kernel = kernel[: kernel.index("\n}")]
    assert "__TVMBackendAllocWorkspace" in kernel and "__TVMBackendFreeWorkspace" in kernel


def test_kernels_keep_their_names_as_symbols():
    mod = lowered(network(lambda bb, x: bb.emit(relax.op.exp(x)), X))
    assert "@tz.tir_exp(" in build_module(mod, TARGET).inspect_source()


def test_the_timed_twin_reads_the_clock_around_every_kernel():
    def build(bb, x):
        return bb.emit(relax.op.nn.max_pool2d(bb.emit(relax.op.nn.avg_pool2d(x, (2, 2))), (2, 2)))

    mod = lowered(network(build, X))
    clock = tvm.runtime.tensor(np.zeros((3, 2), "int64"))
    (timed,), (plain,) = run(mod, sample(*X), function="main_timed", extra=[clock]), run(mod, sample(*X))
    np.testing.assert_array_equal(timed, plain)
    times = clock.numpy() @ [10**9, 1]
    assert times[0] > 0 and (np.diff(times) >= 0).all()


def test_a_kernel_that_fails_stops_the_program_with_its_message():
    mod = lowered(network_of(only_positive, 4))
    np.testing.assert_array_equal(run(mod, np.ones(4, "float32"))[0], np.ones(4))
    with pytest.raises(Exception, match="x must be positive"):
        run(mod, -np.ones(4, "float32"))


def test_one_variable_for_two_pitches_is_refused():
    """Two planes with rows of different pitch, read with the first one's, would be silently wrong."""

    @I.ir_module
    class SharedPitch:
        @T.prim_func(private=True, s_tir=True)
        def add(first: T.handle, second: T.handle, out: T.Buffer((T.int64(4), T.int64(4)), "uint8")):
            pitch = T.int64()
            a = T.match_buffer(first, (T.int64(4), T.int64(4)), "uint8", strides=(pitch, 1), align=1)
            b = T.match_buffer(second, (T.int64(4), T.int64(4)), "uint8", strides=(pitch, 1), align=1)
            for i, j in T.grid(T.int64(4), T.int64(4)):
                with T.sblock("add"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    out[vi, vj] = a[vi, vj] + b[vi, vj]

        @R.function
        def main(x: R.Tensor((4, 4), "uint8"), y: R.Tensor((4, 4), "uint8")) -> R.Tensor((4, 4), "uint8"):
            cls = SharedPitch
            with R.dataflow():
                gv = R.call_tir(cls.add, (x, y), out_ty=R.Tensor((4, 4), "uint8"))
                R.output(gv)
            return gv

    with pytest.raises(LoweringError, match="a kernel calls both input0_stride0 and input1_stride0 pitch"):
        LowerMainToPrimFunc()(SharedPitch)


def test_an_operator_that_was_not_legalized_is_named():
    with pytest.raises(LoweringError, match="main calls relax.exp .*LegalizeOps"):
        LowerMainToPrimFunc()(network(lambda bb, x: bb.emit(relax.op.exp(x)), X))


def test_outputs_bound_before_are_refused():
    from tvm_zerocopy.passes.bind_external_buffers import BindExternalBuffers

    mod = relax.transform.LegalizeOps()(network(lambda bb, x: bb.emit(relax.op.exp(x)), X))
    with pytest.raises(LoweringError, match="without BindExternalBuffers"):
        LowerMainToPrimFunc()(BindExternalBuffers()(mod))


def test_cuda_kernels_are_launched_from_the_same_host_function():
    """Lowered as far as no CUDA toolkit is needed: device kernels apart, host main calling their launchers."""
    target = tvm.target.Target("nvidia/jetson-agx-xavier", host="llvm")
    mod = relax.transform.LegalizeOps()(network(lambda bb, x: bb.emit(relax.op.nn.max_pool2d(x, (2, 2))), X))
    with target:
        mod = s_tir.dlight.ApplyDefaultSchedule(s_tir.dlight.gpu.Fallback())(mod)
        mod = LowerMainToPrimFunc()(mod)
    functions = {v: f.with_attr("target", target) for v, f in mod.functions.items()}
    split = s_tir.pipeline.default_s_tir_pipeline()[0](tvm.IRModule(functions))
    conventions = {v.name_hint: int(f.attrs.get("calling_conv", 0)) for v, f in split.functions.items()}
    assert conventions["max_pool2d_kernel"] == tvm.ir.CallingConv.DEVICE_KERNEL_LAUNCH
    assert conventions["main"] == tvm.ir.CallingConv.C_PACKED_FUNC
    assert isinstance(split["max_pool2d"], tirx.PrimFunc)
