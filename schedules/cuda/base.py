"""What the CUDA rules share: loops onto threads, and neighbours of a block moved into it."""

from __future__ import annotations

import tvm
from tvm import tirx

from ..cpu.base import child_blocks

THREADS = 256  # of a block where nothing asks for another number: eight warps


def extent_of(sch, loop) -> int:
    """The loop's static extent, or -1."""
    extent = sch.get(loop).extent
    return int(extent) if isinstance(extent, tirx.IntImm) else -1


def is_bound(sch, block) -> bool:
    """True if a loop around the block is a thread already."""
    return any(sch.get(loop).thread_binding is not None for loop in sch.get_loops(block))


def spread(sch, loop, threads: int = THREADS, lanes: int = 1):
    """One loop over blocks, threads and (if ``lanes`` > 1) the elements of a vector load or store."""
    grid, thread, *lane = sch.split(loop, [None, threads, *([lanes] if lanes > 1 else [])])
    sch.bind(grid, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    for vector in lane:
        sch.vectorize(vector)
    return grid, thread


def inline_stages(sch) -> None:
    """Inlines every intermediate injective stage; those that cannot be are left to run on their own."""
    for block in child_blocks(sch):
        if not sch.get_consumers(block):
            continue
        if any(var.iter_type != tirx.IterVar.DataPar for var in sch.get(block).iter_vars):
            continue
        try:
            sch.compute_inline(block)
        except (tvm.s_tir.ScheduleError, RuntimeError):
            continue


def inline_producers(sch, block) -> None:
    """Inlines what ``block`` reads, as far back as injective stages go."""
    while True:
        inlined = False
        for producer in sch.get_producers(block):
            try:
                sch.compute_inline(producer)
                inlined = True
            except (tvm.s_tir.ScheduleError, RuntimeError):
                continue
        if not inlined:
            return
