"""The race: engines take turns on the same frames until each has its measured count."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Callable, Sequence

from ..errors import UnsupportedError
from .agreement import compare_detections, compare_raw
from .contender import Contender, ContenderFailed
from .engines import EngineAdapter
from .statistics import Summary
from .watts import engine_watts
from .work import Work

TURN = 5  # measured frames before the next engine's turn
SETTLE = 1  # frames before them that are not timed: caches and clock rate are the last engine's
PAUSE = 0.01  # seconds between turns: the last engine's threads stop spinning
LEAST = 3  # measured frames of however slow an engine
SLOW = 0.5  # seconds a frame above which a turn is one frame


@dataclass
class Result:
    """One engine's row.

    Attributes
    ----------
    status : {"ran", "missing", "failed"}
    reason : str
        Of the latter two: how to install it, or what went wrong; of the first, if fewer frames were measured than
        asked for, why.
    """

    name: str
    title: str
    status: str
    reason: str = ""
    reduced: bool = False  # computes in less than float32
    seconds: list = field(default_factory=list)
    facts: dict = field(default_factory=dict)
    agreement: dict | None = None
    power: dict | None = None

    def to_dict(self) -> dict:
        found = {key: getattr(self, key) for key in ("name", "title", "status", "reason", "reduced")}
        if self.status == "ran":
            found.update(Summary.of(self.seconds).to_dict(), **self.facts, agreement=self.agreement)
            found["seconds"] = self.seconds
            if self.power is not None:
                found["power"] = self.power
        return found


def race(
    adapters: Sequence[EngineAdapter],
    work: Work,
    warmup: int,
    iterations: int,
    budget: float,
    sensors=None,
    progress: Callable[[str, int, int], None] = lambda text, done, total: None,
    show_errors: bool = False,
) -> list[Result]:
    """Run all engines that can run; one result for each, in the order given.

    Parameters
    ----------
    warmup, iterations : int
        Frames before measuring, and measured.
    budget : float
        Seconds that one engine may run; a slow one is measured on fewer frames, at least `LEAST`.
    sensors : list, optional
        As `power.choose` gives them: also measure each engine's power, after the race.
    """
    results = {each.name: Result(each.name, each.title, "ran", reduced=each.reduced) for each in adapters}
    lanes = []
    with contextlib.ExitStack() as stack:
        for number, adapter in enumerate(adapters):
            progress(f"load {adapter.name}", number, len(adapters))
            lane = _enter(adapter, work, results[adapter.name], warmup, iterations, budget, show_errors)
            if lane is not None:
                stack.callback(lane.contender.close)
                lanes.append(lane)
        running = list(lanes)
        total = sum(lane.left for lane in lanes)
        while running:
            for lane in list(running):
                progress(lane.result.name, total - sum(each.left for each in lanes), total)
                time.sleep(PAUSE)
                try:
                    lane.turn()
                except ContenderFailed as error:
                    lane.fail(error)
                if not lane.left:
                    running.remove(lane)
        if sensors:
            _watts(lanes, sensors, progress)
        _finish(lanes, work)
    return list(results.values())


class _Lane:
    """One running engine: how much it still has to do."""

    def __init__(self, contender: Contender, result: Result, iterations: int, turn: int, settle: int):
        self.contender, self.result = contender, result
        self.left, self._turn, self._settle = iterations, turn, settle

    def turn(self) -> None:
        count = min(self._turn, self.left)
        self.contender.run(self._settle, 0)
        self.result.seconds += self.contender.run(0, count)
        self.left -= count

    def fail(self, error: Exception) -> None:
        self.result.status, self.result.reason, self.left = "failed", str(error), 0


def _enter(adapter, work, result, warmup, iterations, budget, show_errors) -> _Lane | None:
    """Load and warm up."""
    reason = adapter.missing(work)
    if reason is not None:
        result.status, result.reason = "missing", reason
        return None
    contender = None
    try:
        contender = Contender(adapter, work, show_errors)
        result.facts = contender.facts
        one = min(contender.run(0, 2))
        one = min(one, *contender.run(0, max(1, min(warmup - 3, int(budget / 5 / one)))))  # three have run
    except ContenderFailed as error:
        if contender is not None:
            contender.close()
        result.status, result.reason = "failed", str(error)
        return None
    fits = max(LEAST, int(budget / one))
    if fits < iterations:
        result.reason = f"{fits} of {iterations} frames in the budget of {budget:g} s"
    slow = one > SLOW
    return _Lane(contender, result, min(iterations, fits), 1 if slow else TURN, 0 if slow else SETTLE)


def _watts(lanes: list[_Lane], sensors, progress) -> None:
    for number, lane in enumerate(lanes):
        if lane.result.status == "ran":
            progress(f"watts of {lane.result.name}", number, len(lanes))
            try:
                lane.result.power = engine_watts(lane.contender, lane.result.seconds, sensors)
            except ContenderFailed as error:
                lane.fail(error)
            except UnsupportedError as error:
                lane.result.reason = f"no watts: {error}"


def _finish(lanes: list[_Lane], work: Work) -> None:
    """Agreement with the first engine that is not this project's and computes in float32, else with the first."""
    found = {}
    for lane in lanes:
        if lane.result.status == "ran":
            try:
                found[lane.result.name] = lane.contender.results()
            except ContenderFailed as error:
                lane.fail(error)
    ran = [lane for lane in lanes if lane.result.name in found]
    adapters = [lane.contender.adapter for lane in ran]
    if len(adapters) < 2:
        return
    peers = [adapter for adapter in adapters if not adapter.reduced and adapter.name != "ours"]
    reference = (peers or adapters)[0]
    for lane in ran:
        adapter = lane.contender.adapter
        if adapter is reference:
            continue
        pair = (reference.title, found[reference.name], found[adapter.name])
        reduced = adapter.reduced or reference.reduced
        if work.postprocess is None:
            agreement = compare_raw(*pair, reduced)
        else:
            agreement = compare_detections(*pair, work.postprocess.conf, reduced)
        lane.result.agreement = agreement.to_dict()
