"""Direct convolution, depthwise convolution and pooling on the channel-blocked layout NCHW{c}c.

A register tile of ``oc_tile`` vectors of output channels times ``w_tile`` pixels is accumulated over the whole
reduction, then bias, activation and residual are applied to it in registers and it is stored once. 1x1 convolutions are
the same loops without a window: a blocked GEMM. The padded input is a stage of its own.
"""

from __future__ import annotations

import numpy as np

from .base import Rule, choose, divisors, even_groups, find_block, in_registers, schedule_of, stored_from_local
from .machine import machine_of
from .register_tile import best_tile, oc_tiles, pixel_tiles

ORDERS = ("oc_outer", "h_outer", "rows")
INPUT_BYTES = 512 << 10  # a quarter to a half of a core's second-level cache

BLOCKS = ("conv2d_nchwc", "depthwise_conv2d_nchwc", "pool2d_nchwc")


class Conv2dNCHWc(Rule):
    """Kernels that hold a ``conv2d_nchwc``, ``depthwise_conv2d_nchwc`` or ``pool2d_nchwc`` block.

    Orders of the outer loops: ``oc_outer`` and ``h_outer`` spread (output channels, rows) over the cores, one or the
    other slower, with the padded input made before; ``rows`` gives a core some rows at a time, whose input, which it
    pads itself, stays in its cache for all output channels.
    """

    tunable = True

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        name = next(filter(None, (find_block(sch, block) for block in BLOCKS)), None)
        if name is None:
            return None
        machine, shape = machine_of(target), _Shape(sch, name)
        if not tuning:
            order, rows, oc_tile, w_tile = self._default(shape, machine)
            w_tiles = pixel_tiles(shape.width, oc_tile, machine.registers)
            return self._schedule(sch, name, shape, order, rows, oc_tile, (w_tiles, w_tiles.index(w_tile)))
        return [
            self._schedule(
                schedule_of(func), name, shape, order, rows, oc_tile,
                (pixel_tiles(shape.width, oc_tile, machine.registers)[-3:], None),
            )
            for order in ORDERS
            for rows in (_row_groups(shape, machine) if order == "rows" else [1])
            for oc_tile in shape.oc_tiles
        ]  # fmt: skip

    def _default(self, shape, machine):
        order, rows = "h_outer" if shape.height * shape.width >= 1600 else "oc_outer", 1
        if shape.height >= 4 * machine.cores:
            order, rows = "rows", _row_groups(shape, machine)[-1]
        # where the reduction is short the epilogue counts, and it needs registers for itself
        limit = machine.registers // 2 if shape.reduction < 128 else machine.registers
        if shape.oc_tiles == [1]:
            tiles = [d for d in pixel_tiles(shape.width, 1, machine.registers) if d <= limit]
            # as many pixels as lanes, and LLVM takes them for a vector: it gathers their strided inputs
            return order, rows, 1, max([d for d in tiles if d != machine.lanes] or tiles)
        return order, rows, *best_tile(shape.out_blocks, shape.width, machine.registers, limit)

    def _schedule(self, sch, name, shape, order, rows, oc_tile, w_tiles):
        conv = sch.get_sblock(name)
        pads = [p for p in sch.get_producers(conv) if sch.get(p).name_hint.startswith("pad_data")]
        out = stored_from_local(sch, conv)

        # the register tile
        n, oc, h, w, lane = sch.get_loops(out)
        oc_outer, oc_inner = sch.split(oc, [None, oc_tile])
        w_outer, w_inner = sch.split(w, [None, choose(sch, *w_tiles)])
        if order == "rows":
            group, row = sch.split(h, [None, rows])
            sch.reorder(n, group, oc_outer, row, w_outer, oc_inner, w_inner, lane)
            task = sch.fuse(n, group)
        else:
            outer = [oc_outer, h] if order == "oc_outer" else [h, oc_outer]
            sch.reorder(n, *outer, w_outer, oc_inner, w_inner, lane)
            task = sch.fuse(n, *outer)
        sch.parallel(task)
        in_registers(sch, (oc_inner, w_inner, lane))

        # the reduction, into registers
        sch.compute_at(conv, w_outer, preserve_unit_loops=True)
        loops = sch.get_loops(conv)
        reduction = loops[-shape.reduction_axes :]
        spatial = loops[-shape.reduction_axes - 5 : -shape.reduction_axes]
        sch.reorder(*reduction, *spatial)
        in_registers(sch, spatial)
        init = sch.decompose_reduction(conv, reduction[0])
        in_registers(sch, sch.get_loops(init)[-5:])

        for pad in pads:
            if order == "rows":
                sch.compute_at(pad, task, preserve_unit_loops=True)
            else:
                sch.parallel(sch.fuse(*sch.get_loops(pad)[:3]))
            if shape.padded_axes == 5:
                sch.vectorize(sch.get_loops(pad)[-1])
        return sch


def _row_groups(shape, machine):
    """Rows in a task, the best guess last: what leaves every core two tasks and keeps a task's input in a part of its
    cache; where some cores would get a task more than others, the next larger group that is shared evenly."""
    cached = INPUT_BYTES // shape.row_bytes
    groups = divisors(shape.height, max(1, min(cached, shape.height // (2 * machine.cores))))[-2:]
    if even_groups(groups[-1:], shape.height, machine.cores):
        return groups
    larger = divisors(shape.height, max(1, min(cached, shape.height // machine.cores)))
    even = even_groups(larger, shape.height, machine.cores)
    better = [rows for rows in even if rows > groups[-1]][:1] or even[-1:]
    return [rows for rows in groups if rows not in better] + better


class _Shape:
    """Sizes of one convolution, in blocks and pixels."""

    def __init__(self, sch, name):
        block = sch.get_sblock(name)
        extents = [int(sch.get(loop).extent) for loop in sch.get_loops(block)]
        self.out_blocks, self.height, self.width = extents[1:4]
        self.reduction_axes = len(extents) - 5
        # a convolution's output channels share their input; those of the others do not
        self.oc_tiles = oc_tiles(self.out_blocks) if name.startswith("conv2d") else [1]
        self.reduction = int(np.prod(extents[5:]))
        pads = sch.get_producers(block)
        self.padded_axes = sum(len(sch.get_loops(pad)) for pad in pads)
        data = [int(extent) for extent in sch.get(block).reads[0].source.shape]
        self.row_bytes = max(1, 4 * int(np.prod(data)) // self.height)  # of the input, for a row of the output
