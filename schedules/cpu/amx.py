"""Convolution on AMX tiles: pairs of output rows, the epilogue on what the accumulators were stored to."""

from __future__ import annotations

import tvm

from .base import Rule, divisors, find_block, inline_epilogue, schedule_of
from .machine import machine_of

PADDED_BYTES = 512 << 10  # a quarter of a core's second-level cache
LANES = 16  # float32 in a vector register of every CPU with AMX


class AmxConv2d(Rule):
    """Kernels that hold an ``amx_conv2d`` block (``passes.amx_ops``).

    Each task takes some pairs of rows through all output channels, so that the input it pads stays in its core's cache.
    """

    tunable = True

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        if find_block(sch, "amx_conv2d") is None:
            return None
        pairs, row_bytes = _shape(sch)
        cores = machine_of(target).cores
        choices = divisors(pairs, max(1, min(PADDED_BYTES // row_bytes, -(-pairs // cores))))
        if tuning:
            return [self._schedule(schedule_of(func), count) for count in choices[-4:]]
        even = [count for count in choices if pairs // count % cores == 0]  # every core gets as much
        return self._schedule(sch, (even or choices)[-1])

    def _schedule(self, sch, pairs):
        conv, pad, crop = (sch.get_sblock(find_block(sch, name)) for name in ("amx_conv2d", "pad_data", "amx_crop"))
        rows = int(sch.get(conv).writes[0].region[4].extent)
        out = inline_epilogue(sch, crop)
        if out is None:
            out = crop
        else:
            sch.compute_inline(crop)

        n, oc, h, w, c = sch.get_loops(out)
        group, pair, row = sch.split(h, [None, pairs, 2])
        tile, pixel = sch.split(w, [None, rows])
        half, lane = sch.split(c, [None, LANES])
        sch.reorder(n, group, oc, pair, tile, row, pixel, half, lane)
        task = sch.fuse(n, group)
        sch.parallel(task)
        sch.unroll(row)
        sch.unroll(half)
        sch.vectorize(lane)

        sch.compute_at(conv, tile, preserve_unit_loops=True)
        if isinstance(sch.get(pad).body.value, tvm.ir.TensorLoad):
            sch.compute_inline(pad)
        else:
            sch.compute_at(pad, task, preserve_unit_loops=True)
            sch.vectorize(sch.get_loops(pad)[-1])
        return sch


def _shape(sch):
    """Pairs of output rows, and bytes of padded input that a pair needs."""
    loops = [int(sch.get(loop).extent) for loop in sch.get_loops(sch.get_sblock(find_block(sch, "amx_conv2d")))]
    padded = [int(sch.get(loop).extent) for loop in sch.get_loops(sch.get_sblock(find_block(sch, "pad_data")))]
    pairs = loops[2]
    return pairs, 2 * padded[1] * padded[2] * padded[3] * padded[4] // pairs
