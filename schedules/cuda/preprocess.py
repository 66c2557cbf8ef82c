"""The preprocess kernel: two small tables, then a thread an output pixel with its samples in registers."""

from __future__ import annotations

from ..cpu.base import Rule, child_blocks, schedule_of
from .base import spread

ROWS = 8  # of a block; a warp takes neighbours in one row, so that its stores are whole lines


class Preprocess(Rule):
    """Kernels marked ``tz.kernel = "preprocess"``.

    Source indices and weights are float64 arithmetic, which embedded and consumer GPUs do at 1/32 of float32's rate:
    the tables hold those of each row and column once, in a launch of its own each (a few thousand numbers).

    Those launches, and one of geometry where the frame's size is open, are 6 to 9 of 45 to 48 us that the static model
    predicts on Xavier. Tables in each block's shared memory would save them; TVM 0.27 refuses that schedule, because
    the kernel branches on a table's entry (``StorageAccessVisitor``), and ``compute_at`` cannot place a table of four
    numbers a position.
    """

    def apply(self, func, target, tuning=False):
        if func.attrs.get("tz.kernel") != "preprocess":
            return None
        sch = schedule_of(func)

        for name in ("rows", "columns"):
            spread(sch, sch.get_loops(sch.get_sblock(name))[-1], 64)
        for block in child_blocks(sch):
            if sch.get(block).name_hint == "geometry":  # of a size known at run time only: a launch of one thread
                sch.bind(sch.add_unit_loop(block), "threadIdx.x")

        frame, row, tile, _ = sch.get_loops(sch.get_sblock("pixel"))
        row_block, row_thread = sch.split(row, [None, ROWS])
        sch.reorder(frame, row_block, tile, row_thread)
        sch.bind(frame, "blockIdx.z")
        sch.bind(row_block, "blockIdx.y")
        sch.bind(tile, "blockIdx.x")
        sch.bind(row_thread, "threadIdx.y")
        for name in ("gather", "pixel"):
            sch.bind(sch.get_loops(sch.get_sblock(name))[-1], "threadIdx.x")
        sch.set_scope(sch.get_sblock("gather"), 0, "local")
        return sch
