"""How long a kernel should take on a GPU: every resource's time, and the largest of them. Nothing here is measured."""

from __future__ import annotations

from dataclasses import dataclass

from .gpu import Gpu
from .mix import WARP, Mix
from .occupancy import Occupancy, occupancy

MEMORY_LATENCY = 500  # clocks of a load that misses the caches; Volta: 375 to 1029 (Jia et al. 2018), L2 hit 193
BARRIER = 30  # clocks
REGISTERS_UNKNOWN = 64  # where ptxas was not asked
LAUNCH_SECONDS = 3e-6  # between two kernels of a stream


@dataclass(frozen=True)
class Prediction:
    """One launch of a kernel, in seconds.

    Attributes
    ----------
    seconds : float
        The static model's time, with the launch.
    bound : str
        The resource that sets it: tensor cores, float32, float16, special functions, issue, shared memory, L2, DRAM or
        latency.
    bounds : dict of str to float
        Time of each resource alone.
    roofline_seconds, roofline_bound : float, str
        Of the roofline: arithmetic at the peak of the unit that does it, or each argument's bytes once at DRAM's peak.
    occupancy : Occupancy
    """

    seconds: float
    bound: str
    bounds: dict
    roofline_seconds: float
    roofline_bound: str
    occupancy: Occupancy


def predict(mix: Mix, gpu: Gpu, registers: int = REGISTERS_UNKNOWN, spill_bytes: int = 0) -> Prediction:
    """Predict one launch.

    The model: the busiest SM runs ``ceil(blocks / SMs)`` blocks, ``occupancy.blocks`` of them at a time. Its time is
    that of its slowest resource, each working at its peak rate on what all of its warps ask of it; or, where warps
    are too few to cover latency, the chain of one block: each stretch between two barriers waits once for memory, and
    as many blocks as fit wait side by side. DRAM moves every argument once, L2 every sector that a warp touches (no
    hit in L1).

    It assumes the highest clock, a DRAM that nothing else uses, weights that were not in L2 before, no miss in the
    instruction cache, integer arithmetic hidden behind the rest (one instruction a memory access is counted), and
    branches taken; loops whose length lies in memory are as long as the kernel declares them to be usually (NMS: 300
    candidates, none of which overlaps another), without that as its buffers allow (`trips.Trips`). It is meant to rank
    schedules of one kernel. Real kernels take longer; by how much is not known for Xavier.

    Parameters
    ----------
    mix : Mix
    gpu : Gpu
    registers : int
        Of a thread, from ptxas.
    spill_bytes : int
        Spill loads and stores of a thread, from ptxas.

    Returns
    -------
    Prediction
        ``seconds`` is infinite where a block does not fit on an SM.
    """
    taken = occupancy(gpu, mix.threads, registers, mix.shared_bytes)
    roofline = _roofline(mix, gpu)
    bound = max(roofline, key=lambda name: roofline[name])
    if taken.blocks == 0:
        return Prediction(float("inf"), taken.limit, {}, roofline[bound], bound, taken)
    blocks = -(-mix.blocks // gpu.sms)
    warps = mix.warps * blocks
    # A thread of a warp that is not full costs as much as the others.
    spills = spill_bytes / 4 * WARP * 4  # each goes through L1 at one instruction, 4 bytes a lane
    cycles = {
        "tensor cores": warps * mix.tensor_multiply_adds / gpu.tensor_multiply_adds,
        "float32": warps * mix.fp32 * WARP / gpu.fp32_lanes,
        "float16": warps * mix.fp16 * WARP * 2 / gpu.fp16_lanes,
        "special functions": warps * mix.special * WARP / gpu.special_lanes,
        "issue": warps * (mix.fp32 + mix.fp16 + mix.special + 2 * mix.memory_instructions) / 4,
        "shared memory": warps * (mix.shared_cycles + spills / 128),
        "L2": warps * mix.global_bytes / gpu.l2_bytes_per_clock,
    }
    stretches = mix.barriers / 2 + 1
    waves = -(-blocks // taken.blocks)
    waits = stretches * (MEMORY_LATENCY + 2 * BARRIER if mix.global_loads else BARRIER)
    cycles["latency"] = waves * waits
    bounds = {name: value / gpu.clock_hz for name, value in cycles.items()}
    bounds["DRAM"] = mix.argument_bytes / gpu.memory_bytes_per_s
    slowest = max(bounds, key=lambda name: bounds[name])
    return Prediction(bounds[slowest] + LAUNCH_SECONDS, slowest, bounds, roofline[bound], bound, taken)


def _roofline(mix: Mix, gpu: Gpu) -> dict:
    tensor = 2 * mix.tensor_multiply_adds * mix.warps * mix.blocks
    times = {"DRAM": mix.argument_bytes / gpu.memory_bytes_per_s}
    if tensor > mix.flop / 2:
        times["tensor cores"] = tensor / gpu.tensor_flops
    elif mix.fp16 > mix.fp32:
        times["float16"] = mix.flop / gpu.fp16_flops
    else:
        times["float32"] = mix.flop / gpu.fp32_flops
    return times
