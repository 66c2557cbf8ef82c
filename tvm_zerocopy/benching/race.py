"""The race: engines take turns on the same frames until each has its measured count."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from functools import partial
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
    processes: list = field(default_factory=list)  # frames that each of its processes measured, in order
    facts: dict = field(default_factory=dict)
    agreement: dict | None = None
    power: dict | None = None

    def to_dict(self) -> dict:
        found = {key: getattr(self, key) for key in ("name", "title", "status", "reason", "reduced")}
        if self.status == "ran":
            found.update(Summary.of(self.seconds).to_dict(), **self.facts, agreement=self.agreement)
            found["seconds"], found["processes"] = self.seconds, self.processes
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
    processes: int = 1,
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
    processes : int
        How many each engine's frames are shared out to, one after the other: where a process's memory happens to lie
        moves its median by some per cent, which no number of frames in one process shows.
    """
    results = {each.name: Result(each.name, each.title, "ran", reduced=each.reduced) for each in adapters}
    lanes = []
    with contextlib.ExitStack() as stack:
        for number, adapter in enumerate(adapters):
            progress(f"load {adapter.name}", number, len(adapters))
            start = partial(Contender, adapter, work, show_errors)
            lane = _enter(adapter, start, work, results[adapter.name], warmup, iterations, budget, processes)
            if lane is not None:
                stack.callback(lane.close)
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

    def __init__(self, start: Callable[[], Contender], contender: Contender, result: Result, warmup: int, one: float):
        self._start, self.contender, self.result, self._warmup = start, contender, result, warmup
        slow = one > SLOW
        self._turn, self._settle = (1, 0) if slow else (TURN, SETTLE)
        self.left, self._shares = 0, []

    def share_out(self, iterations: int, processes: int) -> None:
        """``iterations`` frames over at most so many processes, at least one frame each."""
        self.left, processes = iterations, min(processes, iterations)
        self._shares = [len(range(number, iterations, processes)) for number in range(processes)]
        self.result.processes = [0]

    def turn(self) -> None:
        done = self.result.processes
        if done[-1] == self._shares[len(done) - 1]:
            self.contender.close()
            self.contender = self._start()
            self.contender.run(self._warmup, 0)
            done.append(0)
        count = min(self._turn, self._shares[len(done) - 1] - done[-1])
        self.contender.run(self._settle, 0)
        self.result.seconds += self.contender.run(0, count)
        done[-1] += count
        self.left -= count

    def fail(self, error: Exception) -> None:
        self.result.status, self.result.reason, self.left = "failed", str(error), 0

    def close(self) -> None:
        self.contender.close()


def _enter(adapter, start, work, result, warmup, iterations, budget, processes) -> _Lane | None:
    """Load and warm up."""
    reason = adapter.missing(work)
    if reason is not None:
        result.status, result.reason = "missing", reason
        return None
    contender = None
    try:
        contender = start()
        result.facts = contender.facts
        one = min(contender.run(0, 2))
        rest = max(1, min(warmup - 3, int(budget / 5 / one)))  # three have run
        one = min(one, *contender.run(0, rest))
    except ContenderFailed as error:
        if contender is not None:
            contender.close()
        result.status, result.reason = "failed", str(error)
        return None
    fits = max(LEAST, int(budget / one))
    if fits < iterations:
        result.reason = f"{fits} of {iterations} frames in the budget of {budget:g} s"
    lane = _Lane(start, contender, result, rest, one)
    lane.share_out(min(iterations, fits), processes)
    return lane


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
                lane.result.facts = {**lane.contender.facts, **lane.result.facts}  # the last process's peak memory
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
