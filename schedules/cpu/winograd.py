"""Winograd convolution: input transform, 36 matrix products, output transform with the epilogue.

Two structures. ``fused``: each parallel task takes some rows of tiles through all three stages, so that what is between
them stays in its core's cache; the filters are read once a task. ``staged``: each stage is spread over all cores by
itself; the filters are read once in all, which pays where they outweigh the activations, and where the rows of tiles
are too few to keep the cores evenly busy.
"""

from __future__ import annotations

from .base import Rule, accumulate_in_registers, divisors, find_block, inline_crop, schedule_of
from .machine import machine_of
from .register_tile import best_tile, oc_tiles, pixel_tiles

STRUCTURES = ("fused", "staged")
CACHE_BYTES = 2 << 20  # a core's second-level cache
# Multiply-adds x 2 that a lane does while a byte comes from behind that cache: 110 GFLOP/s of 16 lanes, 11 GB/s.
FLOPS_PER_LANE_AND_BYTE = 0.625


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
        choices = [("fused", rows) for rows in divisors(shape.rows, shape.rows)] + [("staged", shape.rows)]
        structure, rows = min(choices, key=lambda choice: _flops_of_a_core(shape, machine, *choice))
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


def _flops_of_a_core(shape, machine, structure, rows):
    """What the busiest core has to do, in floating-point operations; bytes from behind its cache count as such."""
    if structure == "staged":
        share, moved = 1 / machine.cores, (shape.filter_bytes + 2 * shape.rows * shape.row_bytes) / machine.cores
    else:
        tasks = -(-shape.rows // (rows * machine.cores))
        share, moved = tasks * rows / shape.rows, shape.filter_bytes
        if shape.filter_bytes + rows * shape.row_bytes > CACHE_BYTES:  # each task reads all filters anew
            moved *= tasks
        moved += 2 * tasks * max(0, rows * shape.row_bytes - CACHE_BYTES)  # written, then read
    return share * shape.flops + FLOPS_PER_LANE_AND_BYTE * machine.lanes * moved


class _Shape:
    """Sizes of one Winograd kernel, in blocks and tiles.

    Attributes
    ----------
    rows, columns : int
        Of tiles.
    row_bytes : int
        Of a row of tiles, transformed: input and products.
    flops : int
        Of the matrix products.
    """

    def __init__(self, sch):
        output = sch.get_loops(sch.get_sblock(find_block(sch, "winograd_output")))
        gemm = sch.get_loops(sch.get_sblock(find_block(sch, "winograd_gemm")))
        self.out_blocks, self.rows, self.columns = (int(sch.get(loop).extent) for loop in output[1:4])
        lanes, in_blocks = (int(sch.get(loop).extent) for loop in gemm[4:6])
        self.filter_bytes = 36 * self.out_blocks * in_blocks * lanes * lanes * 4
        self.row_bytes = 36 * self.columns * (in_blocks + self.out_blocks) * lanes * 4
        self.flops = 2 * 36 * self.rows * self.columns * in_blocks * self.out_blocks * lanes * lanes
