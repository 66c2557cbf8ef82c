"""One round after another: choose a task, build and time a batch of its candidates, write the results down at once.

TVM's task schedulers hold the first round of every task back until all tasks have had one; a run that is killed
then would lose hundreds of measurements. What a round is made of is each tuner's own: see `Search`.
"""

from __future__ import annotations

from typing import Callable, Iterator

from .state import INFINITE, TuningState


class Search:
    """One task's search, as `Rounds` uses it: a tuner's adapter."""

    def candidates(self, planned: int, count: int):
        """The next candidates to measure, at most ``count`` of the ``planned`` that the run has left; empty: no more.

        Raises whatever the tuner raises.
        """
        raise NotImplementedError

    def measure(self, candidates) -> tuple[list[float], list[str]]:
        """Build, time and write down: seconds of the candidates that ran, one line for each that did not."""
        raise NotImplementedError

    def close(self) -> None:
        """The run is over; called once, if the search was used."""


class Rounds:
    """The searches of all tasks.

    Parameters
    ----------
    searches : list of Search
        One a task, in the order of ``state.tasks``.
    state : TuningState
        Says how many trials are planned, and is told each round's results.
    size : int
        Candidates of a round.
    """

    def __init__(self, searches: list[Search], state: TuningState, size: int):
        self._searches, self._state, self._size = searches, state, size
        self._begun, self._finished = set(), set()

    def run(self, on_round: Callable[[TuningState], None]) -> None:
        """Rounds until the trials or the spaces are used up."""
        try:
            for index in self._order():
                candidates = self._candidates(index)
                if candidates:
                    times, errors = self._searches[index].measure(candidates)
                    self._state.record(index, times, errors)
                    on_round(self._state)
                else:
                    self._finished.add(index)
        finally:
            for index in self._begun:
                self._searches[index].close()

    def _order(self) -> Iterator[int]:
        """Each task once, the heaviest first; then the one where most time of a frame is still to be searched."""
        yield from range(len(self._searches))
        while self._state.done < self._state.planned:
            left = set(range(len(self._searches))) - self._finished
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
        self._begun.add(index)
        return self._searches[index].candidates(left, min(self._size, left))[:left]
