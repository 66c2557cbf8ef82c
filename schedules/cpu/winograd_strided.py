"""Stride-2 convolution that saves multiplications along the width: transforms around nine products of matrices.

A parallel task takes some rows of the output: it transforms the input rows they need once, and for some output channels
at a time multiplies all of it and transforms back, so that what is between stays in its core's caches.
"""

from __future__ import annotations

from .base import Rule, accumulate_in_registers, divisors, even_groups, find_block, inline_crop, schedule_of
from .machine import machine_of
from .register_tile import best_tile, oc_tiles, pixel_tiles

INPUT_BYTES = 512 << 10  # of transformed input in a task: a quarter of a core's second-level cache,
STREAMED_INPUT_BYTES = 1 << 20  # or half of it where every task streams the filters from memory
CACHED_FILTER_BYTES = 1 << 20  # they stay in a core's second-level cache from task to task
PLACES = ("row", "channels")


class WinogradStridedConv2dNCHWc(Rule):
    """Kernels that hold a ``strided_gemm`` block (``passes.winograd_strided_ops``).

    The products of some output channels are made for one row at a time (``row``), or for all rows of the task
    (``channels``), which reads each of the nine filters once for all of them.
    """

    tunable = True

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        if find_block(sch, "strided_gemm") is None:
            return None
        machine, shape = machine_of(target), _Shape(sch)
        limit = INPUT_BYTES if shape.filter_bytes <= CACHED_FILTER_BYTES else STREAMED_INPUT_BYTES
        groups = divisors(shape.rows, max(1, min(limit // shape.row_bytes, -(-shape.rows // machine.cores))))
        if tuning:
            return [
                self._schedule(schedule_of(func), place, rows, oc_tile, t_tile)
                for place in PLACES
                for rows in groups[-3:]
                for oc_tile in oc_tiles(shape.out_blocks)
                for t_tile in pixel_tiles(shape.columns, oc_tile, machine.registers)[-2:]
            ]
        oc_tile, t_tile = best_tile(shape.out_blocks, shape.columns, machine.registers)
        place = "row" if oc_tile * shape.filter_bytes // shape.out_blocks <= CACHED_FILTER_BYTES // 2 else "channels"
        rows = (even_groups(groups, shape.rows, machine.cores) or groups)[-1]
        return self._schedule(sch, place, rows, oc_tile, t_tile)

    def _schedule(self, sch, place, rows, oc_tile, t_tile):
        source, gemm, output, crop = (
            sch.get_sblock(find_block(sch, "strided_" + part)) for part in ("input", "gemm", "output", "crop")
        )
        last = inline_crop(sch, crop)

        # four pixels at a time, from the output transform through the epilogue in registers
        n, oc, h, w, lane = sch.get_loops(last)
        group, row = sch.split(h, [None, rows])
        oc_outer, oc_inner = sch.split(oc, [None, oc_tile])
        t, pixel = sch.split(w, [None, 4])
        sch.reorder(n, group, oc_outer, row, oc_inner, t, pixel, lane)
        task = sch.fuse(n, group)
        sch.parallel(task)
        sch.vectorize(lane)
        sch.unroll(pixel)
        sch.set_scope(output, 0, "local")
        sch.compute_at(output, t)
        sch.compute_at(gemm, row if place == "row" else oc_outer, preserve_unit_loops=True)
        sch.compute_at(source, task)

        # the nine matrix products
        xi, oc, h, t, co, ic, kh, ci = sch.get_loops(gemm)[-8:]
        t_outer, t_inner = sch.split(t, [None, t_tile])
        sch.reorder(xi, h, t_outer, ic, kh, ci, oc, t_inner, co)
        accumulate_in_registers(sch, gemm, t_outer, (oc, t_inner, co), ic)

        # what one register tile reads lies together, channel after channel
        sch.transform_layout(
            source, ("write", 0), lambda n, xi, ic, h, t, v: [n, h, t // t_tile, xi, ic, t % t_tile, v]
        )
        return sch


class _Shape:
    """Sizes of one kernel, in blocks and tiles."""

    def __init__(self, sch):
        output = sch.get_loops(sch.get_sblock(find_block(sch, "strided_output")))
        gemm = sch.get_loops(sch.get_sblock(find_block(sch, "strided_gemm")))
        self.out_blocks, self.rows, self.columns = (int(sch.get(loop).extent) for loop in output[1:4])
        products, lanes, in_blocks = (int(sch.get(gemm[axis]).extent) for axis in (1, 5, 6))
        self.row_bytes = 2 * products * in_blocks * self.columns * lanes * 4  # of transformed input for an output row
        self.filter_bytes = products * 3 * self.out_blocks * in_blocks * lanes * lanes * 4
