"""Winograd convolution: input transform, 36 matrix products, output transform with the epilogue.

Two structures. ``fused``: each parallel task takes some rows of tiles through all three stages, so that what is between
them stays in its core's cache; the filters are read once a task. ``staged``: each stage is spread over all cores by
itself; the filters are read once in all, which pays where they outweigh the activations.
"""

from __future__ import annotations

from .base import Rule, accumulate_in_registers, divisors, find_block, inline_crop, schedule_of
from .machine import machine_of
from .register_tile import best_tile, oc_tiles, pixel_tiles

STRUCTURES = ("fused", "staged")
CACHED_FILTER_BYTES = 1 << 20  # they stay in a core's second-level cache from task to task
STAGED_FILTER_BYTES = 4 << 20


class WinogradConv2dNCHWc(Rule):
    """Kernels that hold a ``winograd_gemm`` block."""

    tunable = True

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        if find_block(sch, "winograd_gemm") is None:
            return None
        machine = machine_of(target)
        shape = _Shape(sch)
        if tuning:
            return [
                self._schedule(schedule_of(func), shape, structure, rows, oc_tile, p_tile)
                for structure in STRUCTURES
                for rows in (divisors(shape.rows, shape.rows)[:3] if structure == "fused" else [shape.rows])
                for oc_tile in oc_tiles(shape.out_blocks)
                for p_tile in pixel_tiles(rows * shape.columns, oc_tile, machine.registers)[-2:]
            ]
        structure = "staged" if shape.filter_bytes >= STAGED_FILTER_BYTES else "fused"
        if structure == "staged":
            rows = shape.rows
        elif shape.filter_bytes <= CACHED_FILTER_BYTES:
            rows = 1
        else:  # as many as leave every core a task: each task reads all filters
            rows = divisors(shape.rows, max(1, shape.rows // machine.cores))[-1]
        return self._schedule(
            sch, shape, structure, rows, *best_tile(shape.out_blocks, rows * shape.columns, machine.registers)
        )

    def _schedule(self, sch, shape, structure, rows, oc_tile, p_tile):
        source, gemm, output, crop = (
            sch.get_sblock(find_block(sch, "winograd_" + part)) for part in ("input", "gemm", "output", "crop")
        )
        last = inline_crop(sch, crop)

        # 4x4 pixels at a time, from the output transform through the epilogue in registers
        n, oc, h, w, lane = sch.get_loops(last)
        th, h_inner = sch.split(h, [None, 4])
        tw, w_inner = sch.split(w, [None, 4])
        group, row = sch.split(th, [None, rows])
        if structure == "fused":
            sch.reorder(n, group, oc, row, tw, h_inner, w_inner, lane)
            task = sch.fuse(n, group)
        else:
            sch.reorder(n, oc, group, row, tw, h_inner, w_inner, lane)
            task = sch.fuse(n, oc)
        sch.parallel(task)
        sch.vectorize(lane)
        sch.unroll(h_inner)
        sch.unroll(w_inner)
        sch.set_scope(output, 0, "local")
        sch.compute_at(output, tw)
        if structure == "fused":
            sch.compute_at(gemm, task, preserve_unit_loops=True)
            sch.compute_at(source, task)

        # the 36 matrix products
        loops = sch.get_loops(gemm)
        xi, oc, p, co, ic, ci = loops[-6:]
        oc_outer, oc_inner = sch.split(oc, [None, oc_tile])
        p_outer, p_inner = sch.split(p, [None, p_tile])
        sch.reorder(xi, oc_outer, p_outer, ic, ci, oc_inner, p_inner, co)
        if structure == "staged":
            sch.parallel(sch.fuse(*loops[:-6], xi, oc_outer))
        store = accumulate_in_registers(sch, gemm, p_outer, (oc_inner, p_inner, co), ic)

        if structure == "staged":
            sch.parallel(sch.fuse(*sch.get_loops(source)[:-1]))
        # the 36 values of a tile lie close together: as 36 far apart streams they fight for the same cache sets
        for block in (source, store):
            sch.transform_layout(block, ("write", 0), lambda n, xi, ch, p, v: [n, p // p_tile, xi, ch, p % p_tile, v])
        return sch


class _Shape:
    """Sizes of one Winograd kernel, in blocks and tiles."""

    def __init__(self, sch):
        output = sch.get_loops(sch.get_sblock(find_block(sch, "winograd_output")))
        gemm = sch.get_loops(sch.get_sblock(find_block(sch, "winograd_gemm")))
        self.out_blocks, self.rows, self.columns = (int(sch.get(loop).extent) for loop in output[1:4])
        lanes, in_blocks = (int(sch.get(loop).extent) for loop in gemm[4:6])
        self.filter_bytes = 36 * self.out_blocks * in_blocks * lanes * lanes * 4
