"""How many blocks of a kernel are on one SM at a time."""

from __future__ import annotations

from dataclasses import dataclass

from .gpu import Gpu

WARP = 32
REGISTER_UNIT = 256  # registers are handed out to warps in such units, compute capability 3.0 and newer
SHARED_UNIT = {"sm_70": 256, "sm_72": 256}  # bytes; 128 since 8.0
QUARTERS = 4  # an SM's partitions, each with a quarter of the registers and every fourth warp


@dataclass(frozen=True)
class Occupancy:
    """Blocks and warps on one SM, the share of its warps, and what sets it.

    ``limit`` is one of "warps", "blocks", "registers" and "shared memory".
    """

    blocks: int
    warps: int
    share: float
    limit: str


def occupancy(gpu: Gpu, threads: int, registers: int, shared_bytes: int) -> Occupancy:
    """The formula of NVIDIA's occupancy calculator (``cuda_occupancy.h``).

    Parameters
    ----------
    gpu : Gpu
    threads : int
        Of a block.
    registers : int
        Of a thread.
    shared_bytes : int
        Of a block, static and dynamic.

    Returns
    -------
    Occupancy
        ``blocks`` is 0 where the block does not fit at all.
    """
    warps = -(-threads // WARP)
    per_warp = -(-max(registers, 1) * WARP // REGISTER_UNIT) * REGISTER_UNIT
    register_warps = gpu.registers // QUARTERS // per_warp * QUARTERS
    unit = SHARED_UNIT.get(gpu.arch, 128)
    shared = -(-(shared_bytes + gpu.block_reserved_bytes) // unit) * unit
    limits = {
        "warps": gpu.warps // warps,
        "blocks": gpu.blocks,
        "registers": register_warps // warps,
        "shared memory": gpu.shared_bytes // shared if shared else gpu.blocks,
    }
    whole_quarters = -(-warps // QUARTERS) * QUARTERS
    if per_warp * whole_quarters > gpu.registers:
        limits["registers"] = 0
    if shared_bytes > gpu.block_shared_bytes:
        limits["shared memory"] = 0
    limit = min(limits, key=lambda name: limits[name])
    blocks = limits[limit]
    return Occupancy(blocks, blocks * warps, blocks * warps / gpu.warps, limit)
