"""Design spaces for MetaSchedule, made from the schedule rules.

A rule gives one or more sketches of a kernel; what a sketch leaves open (``sample_categorical``) multiplies it.
"""

from __future__ import annotations

import tvm
from tvm import s_tir

from .search import decisions_of


def sketches(rules, workload: tvm.IRModule, target) -> list[s_tir.Schedule]:
    """The sketches of the first rule that fits one workload; empty where it leaves no choice."""
    func = workload["main"]
    for rule in rules:
        found = rule.apply(func, target, tuning=True)
        if found is None:
            continue
        found = list(found) if isinstance(found, (list, tuple)) else [found]
        return found if count_points(found) > 1 else []
    return []


def count_points(spaces) -> int:
    """Points in all sketches together."""
    total = 0
    for sch in spaces:
        points = 1
        for candidates in decisions_of(sch).values():
            points *= candidates
        total += points
    return total
