"""Convolution of bfloat16: pairs of output rows, the epilogue on what the accumulators were stored to, or are."""

from __future__ import annotations

import math

import tvm

from .base import Rule, divisors, even_groups, find_block, in_registers, inline_crop, schedule_of
from .machine import machine_of

PADDED_BYTES = 512 << 10  # a quarter of a core's second-level cache
FILTER_BYTES = 1 << 20  # half of it


class Bfloat16Conv2d(Rule):
    """Kernels that hold a ``bfloat16_conv2d`` block (``passes.bfloat16_conv2d``).

    Two orders. ``rows``: each task takes some pairs of rows through all output channels, so that the input it pads
    stays in its core's cache; every core reads the whole filter. ``channels``: each task takes some output channels
    over the whole picture; every core reads the whole input, which pays where the filter outweighs it.
    """

    tunable = True

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        if find_block(sch, "bfloat16_conv2d") is None:
            return None
        machine, shape = machine_of(target), _Shape(sch)
        cores = machine.cores
        choices = divisors(shape.pairs, max(1, min(PADDED_BYTES // shape.pair_bytes, -(-shape.pairs // cores))))
        if tuning:
            orders = [("rows", count) for count in choices[-4:]] + [("channels", shape.pairs)]
            return [self._schedule(schedule_of(func), machine, *order) for order in orders]
        if shape.filter_bytes > FILTER_BYTES and shape.out_blocks >= 2 * cores:
            return self._schedule(sch, machine, "channels", shape.pairs)
        return self._schedule(sch, machine, "rows", (even_groups(choices, shape.pairs, cores) or choices)[-1])

    def _schedule(self, sch, machine, order, pairs):
        names = "bfloat16_conv2d", "pad_data", "bfloat16_crop"
        conv, pad, crop = (sch.get_sblock(find_block(sch, name)) for name in names)
        rows = int(sch.get(conv).writes[0].region[4].extent)
        out = inline_crop(sch, crop)
        for operand in sch.get_producers(out):  # a residual's conversion to float32
            if not sch.get(operand).name_hint.startswith("bfloat16_"):
                sch.compute_inline(operand)

        n, oc, h, w, c = sch.get_loops(out)
        group, pair, row = sch.split(h, [None, pairs, 2])
        tile, pixel = sch.split(w, [None, rows])
        half, lane = sch.split(c, [None, machine.lanes])
        sch.reorder(n, group, oc, pair, tile, row, pixel, half, lane)
        task = sch.fuse(n, group) if order == "rows" else sch.fuse(n, group, oc)
        sch.parallel(task)
        if machine.bfloat16 == "amx":  # its accumulators are stored to memory first
            sch.unroll(row)
            in_registers(sch, (half, lane))
        else:
            sch.set_scope(conv, 0, "local")
            in_registers(sch, (row, pixel, half, lane))

        sch.compute_at(conv, tile, preserve_unit_loops=True)
        if isinstance(sch.get(pad).body.value, tvm.ir.TensorLoad):  # nothing is padded
            sch.compute_inline(pad)
            return sch
        if order == "rows":
            sch.compute_at(pad, task, preserve_unit_loops=True)
        else:
            sch.parallel(sch.fuse(*sch.get_loops(pad)[:3]))
        sch.vectorize(sch.get_loops(pad)[-1])
        return sch


class _Shape:
    """Sizes of one convolution."""

    def __init__(self, sch):
        def extents(name):
            return [int(sch.get(loop).extent) for loop in sch.get_loops(sch.get_sblock(find_block(sch, name)))]

        _, self.out_blocks, self.pairs, *_ = extents("bfloat16_conv2d")
        padded = extents("pad_data")
        self.pair_bytes = max(1, 2 * math.prod(padded[1:]) // self.pairs)
        tiles = sch.get(sch.get_sblock(find_block(sch, "bfloat16_conv2d"))).reads[1].region  # of one block of channels
        self.filter_bytes = 2 * self.out_blocks * math.prod(int(axis.extent) for axis in tiles)
