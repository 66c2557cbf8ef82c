"""The preprocess kernel: a thread an output pixel with its samples in registers."""

from __future__ import annotations

from ..cpu.base import Rule, schedule_of
from .base import spread

ROWS = 8  # of a block; a warp takes neighbours in one row, so that its stores are whole lines


class Preprocess(Rule):
    """Kernels marked ``tz.kernel = "preprocess"``."""

    def apply(self, func, target, tuning=False):
        if func.attrs.get("tz.kernel") != "preprocess":
            return None
        sch = schedule_of(func)

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
        lanes = func.params[-1].shape[4:]
        if lanes:  # a pixel's values lie together: one store
            store = sch.cache_write(sch.get_sblock("pixel"), 0, "local")
            sch.reverse_compute_at(store, sch.get_loops(sch.get_sblock("pixel"))[-1])
            sch.vectorize(sch.get_loops(store)[-1])
        return sch


class PreprocessTaps(Rule):
    """Kernels marked ``tz.kernel = "preprocess_taps"``: frames of any size have them, others a constant.

    Source indices and weights are float64 arithmetic, which embedded and consumer GPUs do at 1/32 of float32's rate: a
    launch of its own makes the table, once a row and column. What all of it has in common the host computes.
    """

    def apply(self, func, target, tuning=False):
        if func.attrs.get("tz.kernel") != "preprocess_taps":
            return None
        sch = schedule_of(func)
        spread(sch, sch.get_loops(sch.get_sblock("taps"))[-1], 64)
        return sch
