"""The schedule rules as a MetaSchedule design space: tens of good structures, their tile sizes left open."""

from __future__ import annotations

import tvm
from tvm import s_tir
from tvm.s_tir import meta_schedule as ms


def design_space(rules, target: tvm.target.Target) -> ms.space_generator.ScheduleFn:
    """A space generator for ``TuneContext(space_generator=...)``.

    Parameters
    ----------
    rules : list
        Objects with ``apply(func, target, tuning)``; the first that knows a kernel makes its space.
    target : tvm.target.Target

    Returns
    -------
    ScheduleFn
        Its traces are plain MetaSchedule: a record made from one replays without this package.
    """

    def schedules(sch: s_tir.Schedule):
        for rule in rules:
            found = rule.apply(sch.mod["main"], target, tuning=True)
            if found is not None:
                return found if isinstance(found, list) else [found]
        return [sch]

    return ms.space_generator.ScheduleFn(schedules, sch_rules=[], postprocs=[], mutator_probs={})
