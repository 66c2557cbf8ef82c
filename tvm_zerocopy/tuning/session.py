"""A tuning run: MetaSchedule over our tasks and spaces, resumable at any moment."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.utils import shash2hex

from ..errors import UnsupportedError
from ..schedules.space import design_space
from . import log, ms_search, spaces
from .intrinsics import contexts_without_intrinsics, import_intrinsics
from .rounds import Rounds
from .search import RankedEnumeration
from .state import TaskState, TuningState
from .tasks import Task

ROUND = 16  # most candidates of one round: what an interruption can lose
LEAST_ROUND = 4  # with few trials: every kernel gets its turn before half of them are spent


@dataclass
class Plan:
    """What to tune and how.

    Attributes
    ----------
    tasks : list of Task
    target : tvm.target.Target
    rules : list
        Schedule rules whose open choices are the space "design".
    work_dir : path
        Folder of the growing log; a run that finds records there goes on from them.
    space : {"design", "generic"}
        Our schedules' points, or MetaSchedule's own search space for the target.
    trials : int or None
        At most so many in this run; None: the whole design space.
    seed : int
    cost_model : {"xgb", "random"}
    """

    tasks: list
    target: object
    rules: list
    work_dir: Path
    space: str = "design"
    trials: int | None = None
    seed: int = 0
    cost_model: str = "xgb"


def tunable(tasks: list[Task], plan_rules, target, space: str) -> list[Task]:
    """The tasks with a search space, their ``points`` filled in."""
    if space == "generic":
        return [task for task in tasks if task.flop]
    for task in tasks:
        task.points = spaces.count_points(spaces.sketches(plan_rules, task.mod, target))
    return [task for task in tasks if task.points > 1]


def tune(
    plan: Plan, builder, runner, peak=None, on_round: Callable[[TuningState], None] = lambda state: None, require=None
):
    """Run a plan to its end (or to an exception, Ctrl-C included); every finished round is on disk.

    ``require`` raises if the devices are gone; it is asked when a whole round failed.

    Returns
    -------
    (TuningState, list of str)
        The run, and the problems of an earlier run's log that were set aside.
    """
    if not plan.tasks:
        raise UnsupportedError("nothing to tune: no kernel of this model has a schedule with a choice on this target")
    Path(plan.work_dir).mkdir(parents=True, exist_ok=True)
    problems = log.repair(plan.work_dir)
    database = log.open_database(plan.work_dir)
    state = _state(plan, database, peak)
    if state.planned <= 0:
        return state, problems
    logger = _quiet_logger()
    if plan.space == "generic":
        import_intrinsics()
    with contexts_without_intrinsics():
        contexts = [_context(plan, index, task, logger) for index, task in enumerate(plan.tasks)]
    model = ms_search.cost_model(plan.cost_model)
    searches = [ms_search.MetaScheduleSearch(c, database, model, builder, runner, require) for c in contexts]
    Rounds(searches, state, min(ROUND, max(LEAST_ROUND, state.planned // (2 * len(searches))))).run(on_round)
    return state, problems


def _context(plan, index, task, logger):
    if plan.space == "design":
        space, strategy = design_space(plan.rules, plan.target), RankedEnumeration(plan.seed + index)
    else:
        space, strategy = "post-order-apply", "evolutionary"
    return ms.TuneContext(
        mod=task.mod,
        target=plan.target,
        space_generator=space,
        search_strategy=strategy,
        task_name=task.name,
        rand_state=plan.seed * 1000 + index + 1,
        num_threads=1,
        logger=logger,
    ).clone()


def _state(plan, database, peak) -> TuningState:
    """Where an earlier run on the same folder left off."""
    known = {}
    for record in database.get_all_tuning_records():
        known.setdefault(shash2hex(record.workload.mod), []).append(log.seconds(record))
    states = [TaskState.resumed(task, known.get(task.hash, [])) for task in plan.tasks]
    left = sum(max(0, task.points - s.trials) for task, s in zip(plan.tasks, states))
    planned = plan.trials if plan.space == "generic" else min(left, plan.trials if plan.trials is not None else left)
    return TuningState(states, planned or 0, peak)


def _quiet_logger() -> logging.Logger:
    """MetaSchedule reports to our views; its own tables and training curves stay out of the terminal."""
    root = logging.getLogger("tvm.s_tir.meta_schedule")
    root.setLevel(logging.ERROR)
    root.propagate = False
    return root
