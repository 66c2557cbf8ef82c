"""Schedules keep what a kernel computes, fit the target, and are records that replay without this package."""

import numpy as np
import pytest
import tvm
from tvm import s_tir, te, topi
from tvm.s_tir import meta_schedule as ms

from tvm_zerocopy.passes import blocked_ops, winograd_ops, winograd_strided_ops
from tvm_zerocopy.schedules import cpu
from tvm_zerocopy.schedules.cpu.machine import Machine
from tvm_zerocopy.schedules.cpu.register_tile import best_tile
from tvm_zerocopy.schedules.space import design_space
from tvm_zerocopy.targets import resolve_target

TARGET = resolve_target("llvm")
LANES = cpu.machine_of(TARGET).lanes


def convolution(in_blocks=2, out_blocks=4, size=12, kernel=3, stride=1, epilogue=True):
    data = te.placeholder((1, in_blocks, size, size, LANES), name="data")
    weight = te.placeholder((out_blocks, in_blocks, kernel, kernel, LANES, LANES), name="weight")
    conv = blocked_ops.conv2d_nchwc(data, weight, (stride, stride), (kernel // 2,) * 4, (1, 1))
    if not epilogue:
        return te.create_prim_func([data, weight, conv])
    bias = te.placeholder((out_blocks, LANES), name="bias")
    biased = te.compute(conv.shape, lambda n, o, h, w, c: conv[n, o, h, w, c] + bias[o, c], name="biased")
    out = te.compute(conv.shape, lambda *i: biased(*i) * biased(*i), name="out")
    return te.create_prim_func([data, weight, bias, out])


def depthwise():
    data = te.placeholder((1, 3, 11, 13, LANES), name="data")
    weight = te.placeholder((3, 3, 3, LANES), name="weight")
    out = blocked_ops.depthwise_conv2d_nchwc(data, weight, (2, 2), (1, 1, 1, 1), (1, 1))
    return te.create_prim_func([data, weight, out])


def pool():
    data = te.placeholder((1, 3, 12, 12, LANES), name="data")
    out = blocked_ops.pool2d_nchwc(data, "max", (5, 5), (1, 1), (2, 2, 2, 2), (1, 1), (12, 12), False)
    return te.create_prim_func([data, out])


def winograd(size=20, blocks=2):
    func = winograd_ops.conv2d_winograd((1, blocks, size, size, LANES), blocks, (1, 1, 1, 1))
    return func.with_attr("global_symbol", "main")


def winograd_strided(size=(32, 32), blocks=(2, 2), pads=(1, 1, 1, 1)):
    func = winograd_strided_ops.conv2d_winograd_strided((1, blocks[0], *size, LANES), blocks[1], pads)
    return func.with_attr("global_symbol", "main")


def softmax_like():
    data = te.placeholder((6, 37), name="data")
    k = te.reduce_axis((0, 37), "k")
    total = te.compute((6,), lambda i: te.sum(data[i, k], axis=k), name="total")
    return te.create_prim_func([data, te.compute((6, 37), lambda i, j: data[i, j] - total[i], name="out")])


def flattened_levels(sizes=((8, LANES), (4, LANES)), channels=2 * LANES - 3):
    levels = [te.placeholder((1, 2, *size, LANES), name=f"level{i}") for i, size in enumerate(sizes)]
    flat = [blocked_ops.from_blocked_flat(level, channels) for level in levels]
    return te.create_prim_func([*levels, topi.concatenate(flat, axis=2)])


KERNELS = {
    "conv3x3": convolution,
    "conv1x1": lambda: convolution(kernel=1),
    "conv_stride2": lambda: convolution(kernel=3, stride=2, size=16),
    "conv_bare": lambda: convolution(epilogue=False),
    "conv_odd": lambda: convolution(in_blocks=1, out_blocks=3, size=13),
    "depthwise": depthwise,
    "pool": pool,
    "winograd": winograd,
    "winograd_odd": lambda: winograd(size=14, blocks=1),
    "winograd_strided": winograd_strided,
    "winograd_strided_odd": lambda: winograd_strided((19, 37), (1, 3), (0, 2, 1, 0)),
    "reduction": softmax_like,
    "flattened_levels": flattened_levels,
}


def arguments(func):
    generator = np.random.default_rng(0)
    return [generator.standard_normal([int(e) for e in p.shape], dtype="float32") for p in func.params]


def run(mod, values):
    tensors = [tvm.runtime.tensor(value) for value in values]
    tvm.compile(mod, target=TARGET)["main"](*tensors)
    return tensors[-1].numpy()


def schedule(func, tuning=False):
    return next(filter(None, (rule.apply(func, TARGET, tuning) for rule in cpu.rules())))


@pytest.mark.parametrize("name", KERNELS)
def test_default_schedule_computes_the_same(name):
    func = KERNELS[name]().with_attr("global_symbol", "main")
    values = arguments(func)
    plain = run(tvm.IRModule({"main": func}), values)
    np.testing.assert_allclose(run(schedule(func).mod, values), plain, rtol=1e-4, atol=1e-4)


def test_what_is_read_across_memory_is_read_a_line_of_the_cache_at_a_time():
    """Outside, and shared out to cores: vectors of pixels; inside: the channels that lie next to each other."""
    sch = schedule(flattened_levels().with_attr("global_symbol", "main"))
    (block,) = sch.get_child_blocks(sch.get_sblock("root"))
    assert [int(sch.get(loop).extent) for loop in sch.get_loops(block)] == [12, 2 * LANES - 3, LANES]


@pytest.mark.parametrize("name", ["conv3x3", "winograd", "winograd_strided"])
def test_every_structure_of_the_space_computes_the_same(name):
    func = KERNELS[name]().with_attr("global_symbol", "main")
    values = arguments(func)
    plain = run(tvm.IRModule({"main": func}), values)
    space = schedule(func, tuning=True)
    assert 6 <= len(space) <= 100
    for sch in space[:: max(1, len(space) // 6)]:
        np.testing.assert_allclose(run(sch.mod, values), plain, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", KERNELS)
def test_traces_replay_on_the_bare_kernel(name):
    func = KERNELS[name]().with_attr("global_symbol", "main")
    found = schedule(func)
    replayed = s_tir.Schedule(tvm.IRModule({"main": func}))
    found.trace.apply_to_schedule(replayed, remove_postproc=False)
    tvm.ir.assert_structural_equal(replayed.mod, found.mod)


@pytest.mark.parametrize("name", ["conv3x3", "winograd", "winograd_strided"])
def test_records_survive_a_database_file(name, tmp_path):
    def database():
        return ms.database.JSONDatabase(str(tmp_path / "workloads.json"), str(tmp_path / "records.json"))

    mod = tvm.IRModule({"main": KERNELS[name]().with_attr("global_symbol", "main")})
    found = schedule(mod["main"])
    first = database()
    info = ms.arg_info.ArgInfo.from_entry_func(mod, remove_preproc=False)
    first.commit_tuning_record(ms.database.TuningRecord(found.trace, first.commit_workload(mod), [1e-3], TARGET, info))
    # the kernel made anew must be recognized, and the record must give the same schedule
    again = tvm.IRModule({"main": KERNELS[name]().with_attr("global_symbol", "main")})
    reread = database().query_schedule(again, TARGET, "main")
    assert reread is not None
    tvm.ir.assert_structural_equal(reread.mod, found.mod)


def test_design_space_generates_for_a_tuning_context():
    mod = tvm.IRModule({"main": convolution().with_attr("global_symbol", "main")})
    context = ms.TuneContext(mod, target=TARGET, space_generator=design_space(cpu.rules(), TARGET), rand_state=1)
    space = context.generate_design_space()
    assert len(space) > 5
    widths = set()
    for trial in range(12):
        sch = s_tir.Schedule(mod, seed=trial + 1)
        s_tir.schedule.Trace(space[0].trace.insts, {}).apply_to_schedule(sch, remove_postproc=False)
        widths.add(str(sch.mod))
    assert len(widths) > 1, "the tile size is not left open"


@pytest.mark.parametrize(
    "target, machine",
    [
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=skylake-avx512 -num-cores=4", Machine(16, 32, 4)),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=haswell -num-cores=4", Machine(8, 16, 4)),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=x86-64 -num-cores=4", Machine(4, 16, 4)),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=cortex-a78 -num-cores=8", Machine(4, 32, 8)),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=sapphirerapids -num-cores=4", Machine(16, 32, 4, "amx")),
        ("llvm -mcpu=sapphirerapids -mattr=-amx-bf16 -num-cores=4", Machine(16, 32, 4, "avx512_bf16")),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=znver4 -num-cores=4", Machine(16, 32, 4, "avx512_bf16")),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=neoverse-v1 -num-cores=8", Machine(4, 32, 8, "neon_bf16")),
    ],
)
def test_machine_is_read_off_the_target(target, machine):
    assert cpu.machine_of(resolve_target(target)) == machine


@pytest.mark.parametrize("registers", [16, 32])
@pytest.mark.parametrize("pixels", [5, 7, 13, 20, 80, 37])
def test_register_tiles_fit(registers, pixels):
    machine = Machine(8, registers, 2)
    oc_tile, pixel_tile = best_tile(8, pixels, machine.registers)
    assert pixels % pixel_tile == 0
    assert oc_tile * pixel_tile + 2 <= machine.registers


@pytest.mark.parametrize("size", [14, 20, 28, 56])
def test_cores_get_as_many_rows_each(size):
    two_cores = resolve_target(f"llvm -mcpu={TARGET.attrs['mcpu']} -num-cores=2")
    func = convolution(size=size).with_attr("global_symbol", "main")
    (rule,) = [rule for rule in cpu.rules() if isinstance(rule, cpu.Conv2dNCHWc)]
    sch = rule.apply(func, two_cores)
    loops = [sch.get(loop) for loop in sch.get_loops(cpu.base.child_blocks(sch)[-1])]
    (tasks,) = [int(loop.extent) for loop in loops if loop.kind == tvm.tirx.ForKind.PARALLEL]
    assert tasks % 2 == 0


def test_kernels_are_parallel_and_vector_code():
    for name in KERNELS:
        text = schedule(KERNELS[name]().with_attr("global_symbol", "main")).mod.script()
        assert "T.parallel" in text, name
        assert "T.vectorized" in text or name == "reduction", name
