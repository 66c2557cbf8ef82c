"""One round after another: choose a task, build and time a batch of its candidates, write the results down at once.

MetaSchedule's task schedulers hold the first round of every task back until all tasks have had one; a run that is
killed then would lose hundreds of measurements. The rest of a round is MetaSchedule's: search, builder, runner, cost
model and database.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import Callable, Iterator

from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.database import TuningRecord
from tvm.s_tir.meta_schedule.runner import RunnerInput, RunnerResult

from .log import FAILED_SECONDS
from .state import INFINITE, TuningState


class Rounds:
    """The searches of all tasks over one database and one cost model.

    Parameters
    ----------
    contexts : list of TuneContext
        One a task, in the order of ``state.tasks``.
    state : TuningState
        Says how many trials are planned, and is told each round's results.
    size : int
        Candidates of a round.
    """

    def __init__(self, contexts, state: TuningState, size: int, database, cost_model, builder, runner):
        self._contexts, self._state, self._size = contexts, state, size
        self._database, self._cost_model = database, cost_model
        self._builder, self._runner = builder, runner
        self._begun, self._finished = set(), set()

    def run(self, on_round: Callable[[TuningState], None]) -> None:
        """Rounds until the trials or the spaces are used up."""
        try:
            for index in self._order():
                candidates = self._candidates(index)
                if candidates:
                    times, errors = self._measure(index, candidates)
                    self._state.record(index, times, errors)
                    on_round(self._state)
                else:
                    self._finished.add(index)
        finally:
            for index in self._begun:
                self._contexts[index].post_tuning()

    def _order(self) -> Iterator[int]:
        """Each task once, the heaviest first; then the one where most time of a frame is still to be searched."""
        yield from range(len(self._contexts))
        while self._state.done < self._state.planned:
            left = set(range(len(self._contexts))) - self._finished
            if not left:
                return
            yield max(left, key=lambda index: (self._promise(index), -index))

    def _promise(self, index: int) -> float:
        item = self._state.tasks[index]
        best = item.best if item.best < INFINITE else 0.0  # nothing ran so far: try the others first
        open_share = 1 - item.trials / item.task.points if item.task.points else 1 / (1 + item.trials)
        return item.task.weight * best * max(open_share, 0.0)

    def _candidates(self, index: int):
        left = self._state.planned - self._state.done
        if left <= 0:
            return None
        context = self._contexts[index]
        if index not in self._begun:
            context.pre_tuning(left, min(self._size, left), None, self._database, self._cost_model)
            self._begun.add(index)
        return (context.generate_measure_candidates() or [])[:left]

    def _measure(self, index: int, candidates):
        """Times in seconds of the candidates that ran, and messages of those that did not."""
        context = self._contexts[index]
        built = self._builder.build([BuilderInput(c.sch.mod, context.target) for c in candidates])
        results = [RunnerResult(None, item.error_msg) for item in built]
        ready = [number for number, item in enumerate(built) if not item.error_msg]
        device = "cuda" if context.target.kind.name == "cuda" else "cpu"
        inputs = [RunnerInput(built[n].artifact_path, device, candidates[n].args_info) for n in ready]
        for number, future in zip(ready, self._runner.run(inputs)):
            results[number] = future.result()
        self._write_down(context, candidates, results)
        for item in built:
            if item.artifact_path:
                with contextlib.suppress(OSError):
                    shutil.rmtree(os.path.dirname(item.artifact_path))
        context.notify_runner_results(candidates, results)
        self._cost_model.update(context, candidates, results)
        times = [_median(result.run_secs) for result in results if not result.error_msg]
        errors = [str(result.error_msg).strip().splitlines()[-1] for result in results if result.error_msg]
        return times, errors

    def _write_down(self, context, candidates, results) -> None:
        workload = self._database.commit_workload(context.mod)
        for candidate, result in zip(candidates, results):
            times = [float(t) for t in result.run_secs] if not result.error_msg else [FAILED_SECONDS]
            self._database.commit_tuning_record(
                TuningRecord(candidate.sch.trace, workload, times, context.target, candidate.args_info)
            )


def cost_model(kind: str) -> ms.CostModel:
    """MetaSchedule's cost model by name: "xgb" or "random"."""
    return ms.CostModel.create(kind, num_tuning_cores=1) if kind == "xgb" else ms.CostModel.create(kind)


def _median(times) -> float:
    ordered = sorted(float(t) for t in times)
    return ordered[len(ordered) // 2]
