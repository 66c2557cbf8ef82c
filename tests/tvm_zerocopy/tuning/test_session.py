"""Tuning runs: they end, go on after an interruption, and survive candidates that crash or hang."""

import io
import os
import signal
import subprocess
import sys
import time

import pytest
from rich.console import Console
from tuning_kernels import dense_workload

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.tuning import log, measure, session, view
from tvm_zerocopy.tuning.tasks import Task

POINTS = 6


@pytest.fixture(scope="module")
def builder():
    return measure.WorkerPoolBuilder(1)


@pytest.fixture(scope="module")
def runner():
    return measure.local_runner(1, evaluator=measure.ms.runner.EvaluatorConfig(number=1, repeat=1, min_repeat_ms=0))


def plan(tmp_path, task, target, rules, **changes):
    return session.Plan([task], target, rules, tmp_path, cost_model="random", **changes)


def test_a_run_measures_the_whole_space_and_reports_it(tmp_path, task, target, rules, builder, runner):
    output = io.StringIO()
    with view.view_for(Console(file=output, width=200)) as show:
        state, problems = session.tune(plan(tmp_path, task, target, rules), builder, runner, 100.0, show)
    assert not problems
    (item,) = state.tasks
    assert (state.done, item.trials, item.failures) == (POINTS, POINTS, 0)
    records = log.read(tmp_path).records
    assert len(records) == POINTS
    assert item.best == pytest.approx(min(map(log.seconds, records)), rel=1e-6)
    assert state.latency == pytest.approx(2 * item.best)
    assert f"trials {POINTS}/{POINTS}" in output.getvalue()
    assert "GFLOP/s" in output.getvalue()


def test_a_second_run_goes_on_where_the_first_stopped(tmp_path, task, target, rules, builder, runner):
    first, _ = session.tune(plan(tmp_path, task, target, rules, trials=4), builder, runner)
    second, _ = session.tune(plan(tmp_path, task, target, rules), builder, runner)
    third, _ = session.tune(plan(tmp_path, task, target, rules), builder, runner)
    assert (first.done, second.done, third.done) == (4, POINTS - 4, 0)
    assert third.tasks[0].trials == POINTS
    traces = [str(record.trace) for record in log.read(tmp_path).records]
    assert len(traces) == len(set(traces)) == POINTS


def test_an_exception_after_a_round_keeps_the_round(tmp_path, task, target, rules, builder, runner):
    def interrupt(state):
        raise KeyboardInterrupt

    with pytest.raises(BaseException):  # noqa: B017 - TVM wraps what its callbacks raise
        session.tune(plan(tmp_path, task, target, rules), builder, runner, on_round=interrupt)
    assert len(log.read(tmp_path).records) == session.LEAST_ROUND


def fragile_build():
    """Builds, except that some candidates kill their worker and others never end (nested: sent to workers by value)."""

    def build(mod_json, target_json, intrinsics):
        import tvm

        from tvm_zerocopy.tuning.measure import build_candidate

        script = tvm.ir.load_json(mod_json).script()
        if "T.vectorized(4)" in script:
            os.kill(os.getpid(), signal.SIGSEGV)
        if "T.vectorized(8)" in script:
            time.sleep(600)
        return build_candidate(mod_json, target_json, intrinsics)

    return build


def test_candidates_that_crash_or_hang_cost_only_themselves(tmp_path, task, target, rules, runner):
    fragile = measure.WorkerPoolBuilder(1, timeout=8, build=fragile_build())
    state, _ = session.tune(plan(tmp_path, task, target, rules), fragile, runner)
    (item,) = state.tasks
    assert (item.trials, item.failures) == (POINTS, 4)
    assert item.best < float("inf")
    assert len(log.best(log.read(tmp_path).records, keep=POINTS)) == 2


RUN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tuning_kernels import TileRule, dense_workload
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning import measure, session
from tvm_zerocopy.tuning.tasks import Task
session.ROUND = 1
task = Task("dense", dense_workload(), 1, 2.0 * 64**3, 6)
plan = session.Plan([task], resolve_target("llvm"), [TileRule()], Path(sys.argv[1]), cost_model="random")
runner = measure.local_runner(1)
session.tune(plan, measure.WorkerPoolBuilder(1), runner, on_round=lambda state: print("round", state.done, flush=True))
"""


def test_kill_9_loses_at_most_the_round_in_flight(tmp_path, task, target, rules, builder, runner):
    here = os.path.dirname(__file__)
    process = subprocess.Popen([sys.executable, "-c", RUN, str(tmp_path), here], stdout=subprocess.PIPE, text=True)
    finished = 0
    for line in process.stdout:
        if line.startswith("round"):
            finished = int(line.split()[1])
        if finished >= 2:
            process.kill()
            break
    process.wait()
    path = tmp_path / log.RECORDS
    path.write_text(path.read_text() + path.read_text().splitlines()[0][:200])  # the line that the kill cut off
    state, problems = session.tune(plan(tmp_path, task, target, rules), builder, runner)
    assert len(problems) == 1
    assert state.done <= POINTS - finished
    assert state.tasks[0].trials == POINTS


def test_nothing_to_tune_is_said(tmp_path, target, rules):
    with pytest.raises(UnsupportedError, match="nothing to tune"):
        session.tune(session.Plan([], target, rules, tmp_path), None, None)


def test_only_tasks_with_a_choice_are_tunable(target, rules):
    tasks = [Task("dense", dense_workload(), 1, 1.0)]
    assert session.tunable(tasks, rules, target, "design")[0].points == POINTS
    assert session.tunable(tasks, [], target, "design") == []
    assert session.tunable(tasks, [], target, "generic") == tasks
