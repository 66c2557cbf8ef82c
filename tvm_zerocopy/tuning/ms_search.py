"""One task's search by MetaSchedule: its search strategy, builder, runner, cost model and database."""

from __future__ import annotations

import contextlib
import os
import shutil

from .meta_schedule import ms
from .rounds import Search
from .times import FAILED_SECONDS, median

BuilderInput, TuningRecord = ms.builder.BuilderInput, ms.database.TuningRecord
RunnerInput, RunnerResult = ms.runner.RunnerInput, ms.runner.RunnerResult


class MetaScheduleSearch(Search):
    """
    Parameters
    ----------
    context : TuneContext
    database, cost_model
        Of all tasks.
    builder, runner
        MetaSchedule's, or ones like them.
    require : callable or None
        Asked when every candidate of a round failed to run; raises if that was not their fault. Nothing of the round is
        written down then, so that a later run measures it.
    """

    def __init__(self, context, database, cost_model, builder, runner, require=None):
        self._context, self._database, self._cost_model = context, database, cost_model
        self._builder, self._runner, self._require = builder, runner, require
        self._begun = False

    def candidates(self, planned, count):
        if not self._begun:
            self._context.pre_tuning(planned, count, None, self._database, self._cost_model)
            self._begun = True
        return list(self._context.generate_measure_candidates() or [])

    def measure(self, candidates):
        context = self._context
        built = self._builder.build([BuilderInput(c.sch.mod, context.target) for c in candidates])
        results = [RunnerResult(None, item.error_msg) for item in built]
        ready = [number for number, item in enumerate(built) if not item.error_msg]
        device = "cuda" if context.target.kind.name == "cuda" else "cpu"
        inputs = [RunnerInput(built[n].artifact_path, device, candidates[n].args_info) for n in ready]
        for number, future in zip(ready, self._runner.run(inputs)):
            results[number] = future.result()
        if self._require is not None and ready and all(results[number].error_msg for number in ready):
            self._require()
        self._write_down(candidates, results)
        for item in built:
            if item.artifact_path:
                with contextlib.suppress(OSError):
                    shutil.rmtree(os.path.dirname(item.artifact_path))
        context.notify_runner_results(candidates, results)
        self._cost_model.update(context, candidates, results)
        times = [median(result.run_secs) for result in results if not result.error_msg]
        errors = [str(result.error_msg).strip().splitlines()[-1] for result in results if result.error_msg]
        return times, errors

    def close(self):
        if self._begun:
            self._context.post_tuning()

    def _write_down(self, candidates, results) -> None:
        workload = self._database.commit_workload(self._context.mod)
        for candidate, result in zip(candidates, results):
            times = [float(t) for t in result.run_secs] if not result.error_msg else [FAILED_SECONDS]
            self._database.commit_tuning_record(
                TuningRecord(candidate.sch.trace, workload, times, self._context.target, candidate.args_info)
            )


def cost_model(kind: str) -> ms.CostModel:
    """MetaSchedule's cost model by name: "xgb" or "random"."""
    return ms.CostModel.create(kind, num_tuning_cores=1) if kind == "xgb" else ms.CostModel.create(kind)
