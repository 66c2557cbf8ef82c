"""Occupancy against NVIDIA's calculator, and predictions that follow from counts."""

import math
from dataclasses import replace

import pytest

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.kernel_model.gpu import XAVIER, gpu_of
from tvm_zerocopy.kernel_model.mix import Mix
from tvm_zerocopy.kernel_model.occupancy import occupancy
from tvm_zerocopy.kernel_model.predict import LAUNCH_SECONDS, predict


@pytest.mark.parametrize(
    ("threads", "registers", "shared", "blocks", "limit"),
    [  # compute capability 7.x, from NVIDIA's occupancy calculator
        (256, 32, 0, 8, "warps"),
        (256, 64, 0, 4, "registers"),
        (128, 255, 0, 2, "registers"),
        (256, 65, 0, 3, "registers"),  # 72 registers are handed out
        (32, 32, 0, 32, "blocks"),
        (256, 32, 49152, 2, "shared memory"),
        (256, 32, 32769, 2, "shared memory"),  # 33024 are handed out
        (1024, 72, 0, 0, "registers"),
        (1024, 64, 0, 1, "registers"),
    ],
)
def test_occupancy(threads, registers, shared, blocks, limit):
    found = occupancy(XAVIER, threads, registers, shared)
    assert (found.blocks, found.limit) == (blocks, limit)
    assert found.share == blocks * -(-threads // 32) / 64


def test_newer_gpus_reserve_shared_memory():
    assert occupancy(gpu_of("sm_80"), 128, 32, 40 * 1024).blocks == 4
    assert occupancy(gpu_of("sm_80"), 128, 32, 41 * 1024 - 1024).blocks == 4
    assert occupancy(gpu_of("sm_80"), 128, 32, 41 * 1024).blocks == 3
    with pytest.raises(UnsupportedError, match="and not sm_61"):
        gpu_of("sm_61")


def test_peaks_of_xavier():
    assert XAVIER.fp32_flops == pytest.approx(1.41e12, rel=0.01)
    assert XAVIER.fp16_flops == pytest.approx(2.82e12, rel=0.01)
    assert XAVIER.tensor_flops == pytest.approx(11.3e12, rel=0.01)


BUSY = Mix(grid=(800, 1, 1), block=(256, 1, 1), fp32=10_000, argument_bytes=1 << 20, memory_instructions=100)


def test_arithmetic_at_its_peak():
    mix = replace(BUSY, flop=2 * 10_000 * 256 * 800)
    found = predict(mix, XAVIER, 32)
    assert found.bound == found.roofline_bound == "float32"
    assert found.roofline_seconds == pytest.approx(mix.flop / XAVIER.fp32_flops)
    assert found.seconds == pytest.approx(found.roofline_seconds + LAUNCH_SECONDS)


def test_a_last_wave_that_is_not_full_costs_a_whole_block():
    whole, one_more = (predict(replace(BUSY, grid=(n, 1, 1)), XAVIER, 32) for n in (8, 9))
    assert one_more.bounds["float32"] == pytest.approx(2 * whole.bounds["float32"])


def test_memory_latency_and_spills():
    stream = replace(BUSY, fp32=1, argument_bytes=1 << 28)
    assert predict(stream, XAVIER, 32).bound == predict(stream, XAVIER, 32).roofline_bound == "DRAM"
    small = replace(BUSY, grid=(1, 1, 1), fp32=10, global_loads=10, barriers=20, argument_bytes=4096)
    assert predict(small, XAVIER, 32).bound == "latency"
    assert predict(BUSY, XAVIER, 32, spill_bytes=400).bounds["shared memory"] > 0


def test_what_does_not_fit_takes_forever():
    found = predict(replace(BUSY, shared_bytes=100_000), XAVIER, 32)
    assert math.isinf(found.seconds) and found.bound == "shared memory"
