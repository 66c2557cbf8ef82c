"""Counts of kernels that a person can count."""

import pytest
from gpu_kernels import naive, tiled, transposed
from tvm.script import tirx as T
from tvm.target import Target

from tvm_zerocopy.kernel_model.mix import count
from tvm_zerocopy.kernel_model.report import device_functions

XAVIER = Target("nvidia/jetson-agx-xavier")


def mix_of(sch):
    (device_mod,) = device_functions(sch.mod["main"], XAVIER).values()
    (func,) = device_mod.functions.values()
    return count(func)


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


def strided(extent):
    """Each of 32 threads copies every 32nd element, ``extent(t, counts)`` of them."""

    @T.prim_func(s_tir=True)
    def main(a: T.Buffer((64,), "float32"), counts: T.Buffer((64,), "int32"), b: T.Buffer((64,), "float32")):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with T.sblock("root"):
            T.reads()
            T.writes()
            for _ in T.thread_binding(1, thread="blockIdx.x"):
                for t in T.thread_binding(32, thread="threadIdx.x"):
                    for i in T.serial(extent(t, counts)):
                        b[i * 32 + t] = a[i * 32 + t]

    (device_mod,) = device_functions(main, XAVIER).values()
    (func,) = device_mod.functions.values()
    return count(func)


@pytest.mark.parametrize("total, trips", [(64, 2), (40, 2), (32, 1)])
def test_a_loop_runs_until_the_last_lane_is_done(total, trips):
    mix = strided(lambda t, counts: (total - t + 31) // 32)
    assert mix.unknown == []
    assert mix.global_loads == trips
    assert mix.global_bytes == trips * 2 * 32 * 4


def test_a_loop_whose_length_lies_in_memory_is_named():
    mix = strided(lambda t, counts: counts[t])
    assert len(mix.unknown) == 1 and "of unknown length" in mix.unknown[0]
