"""The end of a tuning run: which schedules are faster than the defaults inside the network, and by how much.

The search times kernels alone; its fastest are compared with the default inside the network (see `network`). A kernel's
record takes the default's place only where it is faster twice: among the others, and beyond noise with the other
winners around it, on new frames. Every other kernel keeps its default's own schedule, so that a log covers every kernel
that has a choice and a program with the log is no slower than one without.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

import numpy as np
import tvm
from tvm import s_tir
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.database import TuningRecord, Workload

from . import log
from .network import Network, Ratio

FINALISTS = 4  # candidates of a kernel
WITHIN = 1.5  # of the fastest alone: what is slower than that has no chance in the network either
LEAST_GAIN = 0.01  # below it a choice is not worth its line
COMPARE_ROUNDS, CONFIRM_ROUNDS = 24, 60  # frames of each program
ATTEMPTS = 8  # at a set of winners that all stay faster together


@dataclass(frozen=True)
class Confirmed:
    """One kernel's outcome.

    Attributes
    ----------
    task : Task
    trace : tvm.s_tir.schedule.Trace
        Of the winner, or of the default.
    seconds, default_seconds : float
        Of one call inside the network, medians of the same frames.
    ratio : Ratio or None
        To the default in the same frames; None: it is the default.
    """

    task: object
    trace: object
    seconds: float
    default_seconds: float
    ratio: Ratio | None


@dataclass(frozen=True)
class Confirmation:
    """A run's outcome: its kernels, and the whole network with the log and without.

    Attributes
    ----------
    kernels : list of Confirmed
    seconds, default_seconds : float
        Of all kernels of a frame, medians.
    ratio : Ratio
    finalists : int
    """

    kernels: list
    seconds: float
    default_seconds: float
    ratio: Ratio
    finalists: int

    def records(self, target) -> list[TuningRecord]:
        """One for each kernel, its time that inside the network."""
        return [
            TuningRecord(
                item.trace,
                Workload(item.task.mod),
                [item.seconds],
                target,
                ArgInfo.from_entry_func(item.task.mod, remove_preproc=True),
            )
            for item in self.kernels
        ]

    def line(self) -> str:
        """One line for people."""
        won = sum(item.ratio is not None for item in self.kernels)
        return (
            f"in the network {self.seconds * 1e3:.2f} ms with the log, {self.default_seconds * 1e3:.2f} ms with the "
            f"defaults: ratio {self.ratio.median:.3f} ({self.ratio.low:.3f} to {self.ratio.high:.3f}); "
            f"{won} of {len(self.kernels)} kernels differ from their default"
        )

    def to_dict(self) -> dict:
        """For the manifest."""
        return {
            "method": "whole programs in turns, frame by frame; medians of ratios to the defaults in the same frames",
            "rounds": CONFIRM_ROUNDS,
            "finalists": self.finalists,
            "kernels_ms": round(self.seconds * 1e3, 3),
            "default_kernels_ms": round(self.default_seconds * 1e3, 3),
            "ratio": self.ratio.to_list(),
            "changed": sum(item.ratio is not None for item in self.kernels),
        }


def confirm(
    unscheduled,
    tasks,
    records,
    target,
    finalists: int = FINALISTS,
    seed: int = 0,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
) -> Confirmation:
    """Compare a search's fastest candidates with the defaults inside the network.

    Parameters
    ----------
    unscheduled : Unscheduled
    tasks : list of Task
        The kernels that have a choice.
    records : list of TuningRecord
        Of the search.
    target : tvm.target.Target
        This machine's.
    finalists : int
        Candidates of each kernel at most.
    seed : int
        Of the order in which programs run.
    progress : callable
        Called with (step, steps done, steps in all).
    """
    network, random = Network(unscheduled), np.random.default_rng(seed)
    defaults = {task.hash: default_schedule(unscheduled.rules, task.mod, target) for task in tasks}
    chosen = _finalists(records, tasks, defaults, finalists)
    columns = [{} for _ in range(max(map(len, chosen.values()), default=0))]
    for key, traces in chosen.items():
        for place, trace in zip(random.permutation(len(columns)), traces):
            columns[place][key] = trace
    engines = []
    for number, column in enumerate([{}, *columns]):
        progress("building programs", number, len(columns) + 1)
        engines.append(network.program(column))

    def compare(programs, rounds):
        return network.time(
            programs, rounds, int(random.integers(1 << 30)), lambda done, total: progress("comparing", done, total)
        )

    winners = {}
    if columns:
        times, _ = compare(engines, COMPARE_ROUNDS)
        winners = _winners(columns, times)
    default = engines[0]
    for _ in range(ATTEMPTS):
        progress("building the winners", 0, 1)
        tuned = network.program(winners) if winners else default
        times, totals = compare([default, tuned] if winners else [default], CONFIRM_ROUNDS)
        ratios = {key: Ratio.of(times[-1][key], times[0][key]) for key in winners}
        lost = [key for key, ratio in ratios.items() if ratio.high >= 1]
        total = Ratio.of(totals[-1], totals[0])
        if not lost and winners and total.median >= 1:  # what they win their neighbours lose
            lost = list(winners)
        if not lost:
            break
        winners = {key: trace for key, trace in winners.items() if key not in lost}
    else:  # no set stayed together
        winners, ratios = {}, {}
        times, totals = compare([default], CONFIRM_ROUNDS)
        total = Ratio.of(totals[0], totals[0])
    kernels = [
        Confirmed(
            task,
            winners.get(task.hash, defaults[task.hash].trace),
            float(np.median(times[-1][task.hash])) / task.weight,
            float(np.median(times[0][task.hash])) / task.weight,
            ratios.get(task.hash),
        )
        for task in tasks
    ]
    return Confirmation(kernels, float(np.median(totals[-1])), float(np.median(totals[0])), total, finalists)


def default_schedule(rules, workload: tvm.IRModule, target) -> s_tir.Schedule:
    """What a kernel gets without a log."""
    for rule in rules:
        sch = rule.apply(workload["main"], target, tuning=False)
        if sch is not None:
            return sch
    raise ValueError("no rule fits the kernel")


def _finalists(records, tasks, defaults, count: int) -> dict:
    """{workload hash: traces}: the fastest alone that are not the default."""
    by_key = {}
    for record in log.best(records, keep=1 << 20):
        by_key.setdefault(log.shash2hex(record.workload.mod), []).append(record)
    found = {}
    for task in tasks:
        limit = WITHIN * min(map(log.seconds, by_key.get(task.hash, [])), default=0.0)
        for record in by_key.get(task.hash, []):
            traces = found.setdefault(task.hash, [])
            if len(traces) == count or log.seconds(record) > limit:
                break
            sch = s_tir.Schedule(task.mod)
            record.trace.apply_to_schedule(sch, remove_postproc=False)
            if log.shash2hex(sch.mod) != log.shash2hex(defaults[task.hash].mod):
                traces.append(record.trace)
    return found


def _winners(columns, times) -> dict:
    """{workload hash: trace} of those that beat the default (the first program) by `LEAST_GAIN` at least."""
    best = {}
    for column, taken in zip(columns, times[1:]):
        for key, trace in column.items():
            ratio = Ratio.of(taken[key], times[0][key]).median
            if ratio < best.get(key, (1 - LEAST_GAIN,))[0]:
                best[key] = (ratio, trace)
    return {key: trace for key, (_, trace) in best.items()}
