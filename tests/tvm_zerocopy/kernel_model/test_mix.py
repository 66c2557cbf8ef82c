"""Counts of kernels that a person can count."""

import pytest
from gpu_kernels import naive, tiled, transposed
from tvm.script import tirx as T
from tvm.target import Target

from tvm_zerocopy.kernel_model.counter import count
from tvm_zerocopy.kernel_model.report import device_functions
from tvm_zerocopy.kernel_model.trips import TRIPS

XAVIER = Target("nvidia/jetson-agx-xavier")


def mix_of(sch):
    return count(device_function(sch.mod["main"]))


def test_a_thread_an_output():
    mix = mix_of(naive(64, 16))
    assert (mix.grid, mix.block, mix.warps, mix.blocks) == ((4, 4, 1), (16, 16, 1), 8, 16)
    assert mix.flop == 2 * 64**3
    assert mix.fp32 == 64  # a multiply-add a step
    assert mix.argument_bytes == 3 * 64 * 64 * 4
    assert mix.barriers == mix.shared_bytes == mix.shared_cycles == 0
    # a warp is two rows of 16: a step reads two values of a (a sector each) and 16 neighbours of b (two sectors)
    loads = 64 * (2 + 2) * 32
    output = 4 * 32  # stays in a register meanwhile: loaded once, stored once
    assert mix.global_bytes == loads + 2 * output


def test_the_textbook_tile():
    mix = mix_of(tiled(64, 16))
    assert mix.flop == 2 * 64**3
    assert mix.shared_bytes == 2 * 16 * 16 * 4
    assert mix.barriers == 2 * 4  # before and after each of four tiles
    assert mix.global_loads == 2 * 4
    # two rows of 16 float32, two sectors each: one tile of a, one of b, and the result once
    assert mix.global_bytes == (2 * 4 + 1) * 4 * 32
    # a step reads two words of a's tile (one wavefront) and 16 of b's; a tile is written in one wavefront each
    assert mix.shared_cycles == 4 * (16 * 2 + 2)


@pytest.mark.parametrize(("padding", "wavefronts"), [(0, 32), (1, 1)])
def test_bank_conflicts(padding, wavefronts):
    mix = mix_of(transposed(32, padding))
    rows = 32
    assert mix.shared_cycles == rows * (1 + wavefronts)


def strided(extent, threads=32, annotations=None, size=64):
    """Each thread copies every ``threads``-th element, ``extent(t, counts)`` of them."""

    @T.prim_func(s_tir=True)
    def main(a: T.Buffer((size,), "float32"), counts: T.Buffer((64,), "int32"), b: T.Buffer((size,), "float32")):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with T.sblock("root"):
            T.reads()
            T.writes()
            for _ in T.thread_binding(1, thread="blockIdx.x"):
                for t in T.thread_binding(threads, thread="threadIdx.x"):
                    for i in T.serial(extent(t, counts), annotations=annotations):
                        b[i * threads + t] = a[i * threads + t]

    return device_function(main)


def device_function(main):
    (device_mod,) = device_functions(main, XAVIER).values()
    (func,) = device_mod.functions.values()
    return func


@pytest.mark.parametrize("total, trips", [(64, 2), (40, 2), (32, 1)])
def test_a_loop_runs_until_the_last_lane_is_done(total, trips):
    mix = count(strided(lambda t, counts: (total - t + 31) // 32))
    assert mix.assumed == mix.unknown == []
    assert mix.global_loads == trips
    assert mix.global_bytes == trips * 2 * 32 * 4


def test_warps_whose_loops_differ_count_with_their_mean():
    mix = count(strided(lambda t, counts: t, threads=128, size=64 * 128))
    assert mix.global_loads == (31 + 63 + 95 + 127) / 4


def test_a_loop_over_what_an_outer_loop_counts_has_its_mean_length():
    @T.prim_func(s_tir=True)
    def main(a: T.Buffer((64,), "float32"), b: T.Buffer((64,), "float32")):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with T.sblock("root"):
            T.reads()
            T.writes()
            for _ in T.thread_binding(32, thread="threadIdx.x"):
                for i in T.serial(9):
                    for j in T.serial(i):
                        b[i] = a[j * 2 + i] * T.float32(2)

    assert count(device_function(main)).fp32 == sum(range(9))


def test_a_declared_length():
    func = strided(lambda t, counts: counts[t], annotations={TRIPS: [3, 7]}, size=64 * 32)
    for longest, trips in ((False, 3), (True, 7)):
        mix = count(func, longest)
        assert mix.global_loads == trips and mix.assumed == ["loop i"] and mix.unknown == []


def test_a_while_loop():
    def func(declared):
        @T.prim_func(s_tir=True)
        def main(a: T.Buffer((64,), "float32"), b: T.Buffer((64,), "float32")):
            T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
            with T.sblock("root"):
                T.reads()
                T.writes()
                for t in T.thread_binding(32, thread="threadIdx.x"):
                    left = T.alloc_buffer((1,), "float32", scope="local")
                    left[0] = a[t]
                    with T.attr(T.int32(5), declared, 20):
                        while left[0] > T.float32(1):
                            left[0] = left[0] * T.float32(0.5)
                    b[t] = left[0]

        return device_function(main)

    assert (count(func(TRIPS)).fp32, count(func(TRIPS), longest=True).fp32) == (5, 20)
    mix = count(func("something else"))
    assert mix.fp32 == 1 and mix.unknown == ["a while loop"]


def test_a_length_that_nothing_declares_is_what_the_buffers_allow():
    mix = count(strided(lambda t, counts: counts[t], size=5 * 32))
    assert mix.global_loads == 5 and mix.assumed == ["loop i"] and mix.unknown == []


def test_a_length_that_nothing_tells_is_one_step_and_named():
    @T.prim_func(s_tir=True)
    def main(a: T.Buffer((64,), "float32"), counts: T.Buffer((64,), "int32"), b: T.Buffer((64,), "float32")):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with T.sblock("root"):
            T.reads()
            T.writes()
            for t in T.thread_binding(32, thread="threadIdx.x"):
                for _i in T.serial(counts[t]):
                    b[t] = b[t] * T.float32(2)

    mix = count(device_function(main))
    assert mix.fp32 == 1 and mix.unknown == ["loop _i"] and mix.assumed == []
