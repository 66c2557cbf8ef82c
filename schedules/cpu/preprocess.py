"""The preprocess kernel: rows of the image in parallel, the arithmetic of a tile of a row as vectors."""

from __future__ import annotations

from .base import Rule, schedule_of


class Preprocess(Rule):
    """Kernels marked ``tz.kernel = "preprocess"``: per tile of a row a gather, then the arithmetic."""

    def apply(self, func, target, tuning=False):
        if func.attrs.get("tz.kernel") != "preprocess":
            return None
        sch = schedule_of(func)

        frame, row, _, pixel = sch.get_loops(sch.get_sblock("pixel"))
        sch.parallel(sch.fuse(frame, row))
        sch.vectorize(pixel)  # the gather stays scalar: CPUs have no vector load of scattered bytes
        return sch


class PreprocessTaps(Rule):
    """Kernels marked ``tz.kernel = "preprocess_taps"``, a thousand numbers: one core, as they are."""

    def apply(self, func, target, tuning=False):
        return schedule_of(func) if func.attrs.get("tz.kernel") == "preprocess_taps" else None
