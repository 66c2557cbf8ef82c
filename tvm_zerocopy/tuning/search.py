"""A MetaSchedule search strategy for small design spaces: every point once, best predicted first.

MetaSchedule's evolutionary search suits spaces of millions of points. Ours have tens: each ``sample_categorical`` of a
schedule lists known-good choices. So the strategy enumerates them, lets the cost model rank what was not measured yet,
and stops when the space is used up. Points that the database already holds are not measured again, so an interrupted
run goes on where it stopped.
"""

from __future__ import annotations

import itertools
from typing import Iterator

import numpy as np
from tvm.ir import IRModule
from tvm.ir.utils import derived_object
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.search_strategy import MeasureCandidate, PySearchStrategy

# Share of a round spent on points the cost model does not favour, so that it goes on learning
# (MetaSchedule's EvolutionarySearch uses eps_greedy=0.05 over far larger rounds).
EXPLORE = 0.25


def decisions_of(schedule: Schedule) -> dict:
    """The open choices of a design space: {instruction: number of candidates}."""
    choices = {}
    for inst in schedule.trace.insts:
        if inst.kind.name == "SampleCategorical":
            choices[inst] = len(inst.attrs[0])
        elif inst.kind.name.startswith("Sample"):
            raise ValueError(
                f"a design space for enumeration may sample with sample_categorical only, not {inst.kind.name}"
            )
    return choices


def point_of(schedule: Schedule) -> tuple[int, ...]:
    """The decisions taken, in order: a point's identity within its design space."""
    trace = schedule.trace
    return tuple(int(trace.decisions[inst]) for inst in decisions_of(schedule))


def enumerate_points(mod: IRModule, space: Schedule) -> Iterator[Schedule]:
    """Every point of a design space as a schedule of ``mod``; points whose trace does not apply are left out."""
    choices = decisions_of(space)
    for decision in itertools.product(*(range(n) for n in choices.values())):
        trace = space.trace
        for inst, choice in zip(choices, decision):
            trace = trace.with_decision(inst, choice, remove_postproc=True)
        schedule = Schedule(mod, error_render_level="none")
        try:
            trace.apply_to_schedule(schedule, remove_postproc=True)
        except Exception:
            continue
        yield schedule


@derived_object
class RankedEnumeration(PySearchStrategy):
    """Measure every point of every design space once, in the order that the cost model predicts.

    Parameters
    ----------
    seed : int
        Of the order in which unranked points are tried.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed
        self.context = None
        self.points = None

    def _initialize_with_tune_context(self, context) -> None:
        self.context = context

    def pre_tuning(self, max_trials, num_trials_per_iter, design_spaces, database=None, cost_model=None) -> None:
        self.trials_left = max_trials
        self.per_round = num_trials_per_iter
        self.cost_model = cost_model
        mod = self.context.mod
        args_info = ArgInfo.from_entry_func(mod, remove_preproc=True)
        known = self._known(database, mod)
        self.points = []
        for space in design_spaces:
            for schedule in enumerate_points(mod, space):
                if str(schedule.trace) not in known:
                    self.points.append(MeasureCandidate(schedule, args_info))
        np.random.default_rng(self.seed).shuffle(self.points)

    def _known(self, database, mod) -> set:
        if database is None or not database.has_workload(mod):
            return set()
        records = database.get_top_k(database.commit_workload(mod), 1 << 20)
        return {str(record.trace) for record in records}

    def post_tuning(self) -> None:
        self.points = None

    def generate_measure_candidates(self):
        size = min(self.per_round, self.trials_left, len(self.points))
        if size <= 0:
            return None
        if self.cost_model is not None and size < len(self.points):
            scores = self.cost_model.predict(self.context, self.points)
            ranked = [self.points[i] for i in np.argsort(-scores, kind="stable")]
            explored = int(size * EXPLORE)
            # the ranked head, plus points from the (shuffled) rest
            head, rest = ranked[: size - explored], ranked[size - explored :]
            picks = np.random.default_rng(self.seed + len(rest)).permutation(len(rest))[:explored]
            batch = head + [rest[i] for i in picks]
            chosen = set(picks.tolist())
            self.points = [p for i, p in enumerate(rest) if i not in chosen]
        else:
            batch, self.points = self.points[:size], self.points[size:]
        self.trials_left -= len(batch)
        return batch

    def notify_runner_results(self, measure_candidates, results) -> None:
        pass  # the run teaches the cost model, which all tasks share

    def clone(self):
        return RankedEnumeration(self.seed)
