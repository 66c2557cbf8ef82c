"""Everything without a rule of its own: parallel outside, vectors inside, intermediate elementwise stages inlined."""

from __future__ import annotations

import tvm
from tvm import sym, tirx
from tvm_ffi import structural_walk

from .base import Rule, child_blocks, divisors, schedule_of
from .machine import machine_of


class Fallback(Rule):
    """Elementwise, injective and reduction kernels of any shape."""

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        machine = machine_of(target)
        for block in child_blocks(sch):
            _try_inline(sch, block)
        for block in child_blocks(sch):
            self._spread(sch, block, machine)
        return sch

    def _spread(self, sch, block, machine):
        kinds = [var.iter_type for var in sch.get(block).iter_vars]
        loops = sch.get_loops(block)
        if len(loops) != len(kinds) or not loops:
            return
        spatial = [loop for loop, kind in zip(loops, kinds) if kind == tirx.IterVar.DataPar]
        reduction = [loop for loop, kind in zip(loops, kinds) if kind == tirx.IterVar.CommReduce]
        if not spatial or len(spatial) + len(reduction) != len(loops):
            return
        last = spatial[-1]
        extent = sch.get(last).extent
        width = 1
        if isinstance(extent, tirx.IntImm):
            width = max(d for d in divisors(int(extent), machine.lanes) if machine.lanes % d == 0)
        inner = None
        if width >= 4 or (width > 1 and int(extent) == width):
            last, inner = sch.split(last, [None, width])
        outer = [*spatial[:-1], last]
        if inner is None and len(outer) > 1:  # an awkward last axis stays whole, for LLVM to vectorize
            outer, tail = outer[:-1], [outer[-1]]
        else:
            tail = []
        across = _across(sch, block) if inner is not None and not reduction else None
        if across is not None:
            tail = [outer.pop(across)]
        sch.reorder(*outer, *reduction, *tail, *([inner] if inner is not None else []))
        fused = sch.fuse(*outer)
        sch.parallel(fused)
        if inner is not None:
            sch.vectorize(inner)
        if reduction:
            init = sch.decompose_reduction(block, reduction[0])
            if inner is not None:
                sch.vectorize(sch.get_loops(init)[-1])


def _across(sch, block):
    """The axis along which neighbours of everything that is read lie next to each other in memory, if that is not the
    last one: run inside, it reads each line of the cache once."""
    loads, variables = [], [var.var for var in sch.get(block).iter_vars]
    structural_walk(sch.get(block).body, (tvm.ir.TensorLoad, loads.append))

    def place(load, moved=None):
        analyzer = sym.Analyzer()
        for var in variables:
            analyzer.bind(var, tirx.IntImm(var.ty.dtype, int(var is moved)))
        found = analyzer.simplify(load.indices[-1])
        return int(found) if isinstance(found, tirx.IntImm) else None  # where, is read from memory

    def moves(load):
        start = place(load)
        return [axis for axis, var in enumerate(variables) if place(load, var) != start]

    found = {tuple(moves(load)) for load in loads if len(load.indices)}
    (axes,) = found if len(found) == 1 else [()]
    return axes[-1] if axes and axes[-1] < len(variables) - 1 else None


def _try_inline(sch, block):
    """Inlines an intermediate injective stage; stages that cannot be are left to run on their own."""
    if not sch.get_consumers(block):
        return
    if any(var.iter_type != tirx.IterVar.DataPar for var in sch.get(block).iter_vars):
        return
    try:
        sch.compute_inline(block)
    except (tvm.s_tir.ScheduleError, RuntimeError):
        return
