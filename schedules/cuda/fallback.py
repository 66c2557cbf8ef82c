"""Everything without a rule of its own: a thread an output element (or vector of them), reductions in its registers."""

from __future__ import annotations

from tvm import tirx

from ..cpu.base import Rule, child_blocks, schedule_of
from .base import THREADS, extent_of, inline_stages, is_bound, spread


class Fallback(Rule):
    """Elementwise, injective and reduction kernels of any shape."""

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        inline_stages(sch)
        for block in child_blocks(sch):
            if not is_bound(sch, block):
                self._spread(sch, block)
        return sch

    def _spread(self, sch, block):
        kinds = [var.iter_type for var in sch.get(block).iter_vars]
        loops = sch.get_loops(block)
        if len(loops) != len(kinds) or not loops:
            spread(sch, sch.add_unit_loop(block) if not loops else loops[0], 1)  # an opaque stage: one thread
            return
        spatial = [loop for loop, kind in zip(loops, kinds) if kind == tirx.IterVar.DataPar]
        reduction = [loop for loop, kind in zip(loops, kinds) if kind == tirx.IterVar.CommReduce]
        if not spatial:
            spatial = [sch.add_unit_loop(block)]
        sch.reorder(*spatial, *reduction)
        lanes = 1 if reduction else _lanes(sch, block, spatial[-1])
        elements = 1
        for loop in spatial:
            elements *= extent_of(sch, loop)
        threads = min(THREADS, max(32, elements // lanes)) if elements > 0 else THREADS
        spread(sch, sch.fuse(*spatial), threads, lanes)
        if reduction:
            sch.decompose_reduction(block, reduction[0])


def _lanes(sch, block, last) -> int:
    """Elements of the last axis that one thread takes with one store: its extent must be a multiple."""
    dtype = str(sch.get(block).writes[0].source.dtype)
    width = 4 if dtype == "float32" else 1
    extent = extent_of(sch, last)
    return width if extent > 0 and extent % width == 0 else 1
