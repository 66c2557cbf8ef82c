"""Matrix products, attention's above all: a tile of the result stays in registers through the whole reduction."""

from __future__ import annotations

from tvm import tirx

from .base import Rule, find_block, in_registers, schedule_of, stored_from_local
from .machine import machine_of
from .register_tile import best_tile


class Matmul(Rule):
    """Kernels that hold a ``matmul`` block of static shape, whose second operand has the result's columns side by side.

    Products whose columns are no whole vectors are left to other rules.
    """

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        name = find_block(sch, "matmul")
        if name is None:
            return None
        machine, block = machine_of(target), sch.get_sblock(name)
        extents = _extents(sch, block)
        if extents is None or len(extents) < 3 or extents[-2] % machine.lanes or not _is_row_major(sch, block):
            return None
        out = stored_from_local(sch, block)
        if _extents(sch, out) != extents[:-1]:
            return None
        vectors, row_tile = best_tile(extents[-2] // machine.lanes, extents[-3], machine.registers)

        # a task is a panel of columns: its part of the second operand stays in a core's cache for all rows
        *batch, row, column = sch.get_loops(out)
        row, row_inner = sch.split(row, [None, row_tile])
        column, vector, lane = sch.split(column, [None, vectors, machine.lanes])
        sch.reorder(*batch, column, row, row_inner, vector, lane)
        sch.parallel(sch.fuse(*batch, column))
        in_registers(sch, (row_inner, vector, lane))

        sch.compute_at(block, row, preserve_unit_loops=True)
        *_, row_inner, column, step = sch.get_loops(block)
        vector, lane = sch.split(column, [None, machine.lanes])
        sch.reorder(step, row_inner, vector, lane)
        in_registers(sch, (row_inner, vector, lane))
        in_registers(sch, sch.get_loops(sch.decompose_reduction(block, step))[-3:])
        return sch


def _extents(sch, block):
    """Of the block's loops, in order: rows, columns and, of a product, the one axis of its sum last; None if they are
    not static."""
    extents = [sch.get(loop).extent for loop in sch.get_loops(block)]
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return None
    return [int(extent) for extent in extents]


def _is_row_major(sch, block) -> bool:
    """True if nothing is computed on the way to the operands, and the second one's last axis is the result's."""
    realized = sch.get(block)
    if sch.get_producers(block) or len(realized.reads) != 2:
        return False
    return realized.reads[1].region[-1].min.same_as(realized.iter_vars[-2].var)
