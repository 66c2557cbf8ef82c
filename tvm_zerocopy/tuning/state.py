"""Where a tuning run stands: what views show and the final report says."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

INFINITE = float("inf")


@dataclass
class TaskState:
    """One task's trials so far; ``best`` in seconds. A task has what `tasks.Task` has."""

    task: Any
    trials: int = 0
    failures: int = 0
    best: float = INFINITE
    error: str = ""

    @classmethod
    def resumed(cls, task, times) -> TaskState:
        """Where earlier runs left a task: seconds of its candidates, infinite for those that failed."""
        ran = [t for t in times if t < INFINITE]
        return cls(task, len(times), len(times) - len(ran), min(ran, default=INFINITE))

    @property
    def gflops(self) -> float:
        """Best rate in GFLOP/s; 0 where nothing ran yet."""
        return self.task.flop / self.best / 1e9 if self.best < INFINITE else 0.0


@dataclass
class TuningState:
    """A whole run.

    Attributes
    ----------
    tasks : list of TaskState
    planned : int
        Trials this run will make at most, those of earlier runs not counted.
    peak : float or None
        The machine's measured peak in GFLOP/s.
    curve : list of (seconds since start, trials, sum over tasks of weight * best seconds)
        One point a round, once every task has a time: how good the network is against what it cost.
    """

    tasks: list
    planned: int
    peak: float | None = None
    current: TaskState | None = None
    done: int = 0
    rounds: int = 0
    started: float = field(default_factory=time.monotonic)
    curve: list = field(default_factory=list)

    def record(self, index: int, times, errors) -> None:
        """One round of one task: seconds of the candidates that ran, messages of those that did not."""
        state = self.current = self.tasks[index]
        state.trials += len(times) + len(errors)
        state.failures += len(errors)
        state.error = errors[-1] if errors else state.error
        state.best = min([state.best, *times])
        self.done += len(times) + len(errors)
        self.rounds += 1
        if self.latency < INFINITE:
            self.curve.append((self.elapsed, self.done, self.latency))

    @property
    def latency(self) -> float:
        """Seconds of all tuned kernels of one frame at their best; infinite until each has a time."""
        return sum(state.task.weight * state.best for state in self.tasks)

    @property
    def elapsed(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at the pace so far; None before the first round."""
        return self.elapsed / self.done * (self.planned - self.done) if self.done else None
