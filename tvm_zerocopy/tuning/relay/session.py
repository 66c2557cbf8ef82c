"""A tuning run on Relay: one tuner over a model's tasks, resumable at any moment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from ...errors import UnsupportedError
from ..rounds import Rounds
from ..state import TaskState, TuningState
from . import interrupts
from .tuner import Measuring, Tuner

ROUND = 16  # candidates of one round: what an interruption can lose


@dataclass
class Plan:
    """What to tune and how.

    Attributes
    ----------
    tuner : Tuner
    tasks : list of RelayTask
    target : tvm.target.Target
    folder : path
        Of the growing log; a run that finds records there goes on from them.
    trials : int
        Candidates this run measures at most.
    measuring : Measuring
    seed : int
    round : int
        Candidates measured at once.
    """

    tuner: Tuner
    tasks: list
    target: object
    folder: Path
    trials: int
    measuring: Measuring
    seed: int = 0
    round: int = ROUND


def tune(plan: Plan, peak=None, on_round: Callable[[TuningState], None] = lambda state: None):
    """Run a plan to its end (or to an exception; on Ctrl-C to its round's end); every finished round is on disk.

    Returns
    -------
    (TuningState, list of str)
        The run, and the problems of an earlier run's log that were set aside.
    """
    if not plan.tasks:
        raise UnsupportedError(f"nothing to tune: {plan.tuner.name} finds no kernel in this model that it can tune")
    Path(plan.folder).mkdir(parents=True, exist_ok=True)
    problems = plan.tuner.repair(plan.folder)
    known = {}
    for record in plan.tuner.read(plan.folder).records:
        known.setdefault(record.hash, []).append(record.seconds)
    states = [TaskState.resumed(task, known.get(task.hash, [])) for task in plan.tasks]
    state = TuningState(states, plan.trials, peak)
    with interrupts.after_the_round() as interrupted:
        # Inside: what builders and runners start here must not get the signal.
        searches = plan.tuner.searches(plan.tasks, plan.target, plan.folder, plan.measuring, plan.seed)

        def on_finished_round(current):
            on_round(current)
            if interrupted:
                raise KeyboardInterrupt

        Rounds(searches, state, plan.round).run(on_finished_round)
    return state, problems
