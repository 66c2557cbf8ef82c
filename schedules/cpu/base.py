"""What the CPU rules share: choices that are both a default and a search space, and moves on fused epilogues."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx


class Rule:
    """A schedule for one family of kernels, in the manner of ``tvm.s_tir.dlight``.

    Attributes
    ----------
    tunable : bool
        Whether ``tuning=True`` opens a choice.
    """

    tunable = False

    def apply(self, func: tirx.PrimFunc, target: tvm.target.Target, tuning: bool = False):
        """Schedules one kernel.

        Parameters
        ----------
        func : PrimFunc
        target : Target
        tuning : bool
            False: the choices an analytic rule makes for this target. True: every choice is left open.

        Returns
        -------
        tvm.s_tir.Schedule, or a list of them (alternative structures, when tuning), or None: not this rule's kernel.
        """
        raise NotImplementedError


def schedule_of(func: tirx.PrimFunc) -> s_tir.Schedule:
    """A fresh schedule of one function, named ``main`` as MetaSchedule's workloads are."""
    return s_tir.Schedule(tvm.IRModule({"main": func}))


def choose(sch: s_tir.Schedule, candidates, decision=None):
    """A recorded choice: the candidate at index ``decision``, or (None) any of them, for a tuner to settle."""
    candidates = [int(candidate) for candidate in candidates]
    return sch.sample_categorical(candidates, [1.0 / len(candidates)] * len(candidates), decision)


def child_blocks(sch: s_tir.Schedule):
    """The kernel's blocks, in program order."""
    return sch.get_child_blocks(sch.get_sblock("root"))


def find_block(sch: s_tir.Schedule, prefix: str):
    """Name of the block that is called ``prefix`` (perhaps with a number appended), or None."""
    for block in child_blocks(sch):
        name = sch.get(block).name_hint
        if name == prefix or (name.startswith(prefix) and name[len(prefix) :].lstrip("_").isdigit()):
            return name
    return None


def inline_epilogue(sch: s_tir.Schedule, block):
    """Inlines every elementwise consumer of ``block`` into the last one, which is returned (None: there is none)."""
    while True:
        consumers = sch.get_consumers(block)
        if not consumers:
            return None
        pending = [consumer for consumer in consumers if sch.get_consumers(consumer)]
        if not pending:
            return consumers[-1]
        for consumer in pending:
            sch.compute_inline(consumer)


def inline_crop(sch: s_tir.Schedule, crop):
    """The block that stores the kernel's result: the epilogue's last with ``crop`` inlined into it, or ``crop``."""
    last = inline_epilogue(sch, crop)
    if last is None:
        return crop
    sch.compute_inline(crop)
    return last


def divisors(extent: int, limit: int):
    """Divisors of ``extent`` up to ``limit``, ascending."""
    return [d for d in range(1, min(extent, limit) + 1) if extent % d == 0]


def even_groups(groups, extent: int, cores: int):
    """Those sizes of a group of ``extent`` things that give every core as many groups."""
    return [size for size in groups if extent // size % cores == 0]


def in_registers(sch: s_tir.Schedule, loops):
    """Unrolls the loops around a vector loop, so that the values they run over are registers."""
    *outer, lane = loops
    sch.vectorize(lane)
    for loop in outer:
        sch.unroll(loop)


def stored_from_local(sch: s_tir.Schedule, block):
    """The block that stores what a reduction block sums up, whose sums become local: its elementwise consumers, inlined
    into the last one, or a copy."""
    out = inline_epilogue(sch, block)
    if out is None:
        return sch.cache_write(block, 0, "local")
    sch.set_scope(block, 0, "local")
    return out


def accumulate_in_registers(sch: s_tir.Schedule, block, place, tile, reduction):
    """Keeps the sums of a tile in registers through the whole reduction, and stores them once.

    Parameters
    ----------
    block : reduction block, its loops in order: ``place``, the reduction, ``tile``
    place : loop
        One turn of it makes a tile.
    tile : three loops
        The innermost; the last is the vector.
    reduction : loop
        The outermost of the reduction.

    Returns
    -------
    The block that stores the tile.
    """
    store = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(store, place, preserve_unit_loops=True)
    in_registers(sch, sch.get_loops(store)[-3:])
    in_registers(sch, tile)
    init = sch.decompose_reduction(block, reduction)
    in_registers(sch, sch.get_loops(init)[-3:])
    return store
