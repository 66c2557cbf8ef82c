"""Kernels timed where they run: inside the network, several schedules of each side by side.

A kernel alone, run again and again, is not the kernel of the network: there its input was just written by the layer
before, by whichever core had those rows, its weights and its output's memory lie where tens of megabytes of the other
layers' traffic left them, and its neighbours' choices decide who waits. So schedules are compared in whole programs
that differ in their schedules only, share weights and workspace, and run in turns, frame by frame in a new order each
time. What the machine does besides hits all of them.
"""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np
import tvm
from tvm import s_tir
from tvm.s_tir.meta_schedule.utils import shash2hex

from ..buffers import ExternalBuffer
from ..cpu_run import Run
from .model import Unscheduled
from .tasks import as_workload

WARMUP = 3  # frames
FRAME = (1080, 1920, 3)  # of the frame that is shown; any would do
CONFIDENCE = 0.99
SECONDS = np.array([1.0, 1e-9])  # of a clock reading: seconds, nanoseconds


@dataclass(frozen=True)
class Ratio:
    """Median of pairwise ratios of times, and a distribution-free interval of that median (by order statistics)."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, times: np.ndarray, base: np.ndarray) -> Ratio:
        """Of times over the times of the base in the same rounds."""
        ratios = np.sort(np.asarray(times) / np.asarray(base))
        rank = _interval_rank(len(ratios))
        low, high = (ratios[rank], ratios[-1 - rank]) if rank >= 0 else (0.0, math.inf)
        return cls(float(np.median(ratios)), float(low), float(high))

    def to_list(self) -> list[float]:
        return [round(value, 4) for value in (self.median, self.low, self.high)]


def _interval_rank(count: int) -> int:
    """The k for which the k-th smallest and k-th greatest of ``count`` values hold their median with `CONFIDENCE`.

    Counted from 0; -1 if there are too few values. P(median below the k-th smallest) is a binomial tail.
    """
    tail, rank = 0.0, -1
    while rank + 1 < (count + 1) // 2:
        tail += math.comb(count, rank + 1) / 2**count
        if tail > (1 - CONFIDENCE) / 2:
            break
        rank += 1
    return rank


class Chosen:
    """Schedules by workload, for ``ApplySchedules``; kernels that are not named get their default.

    Parameters
    ----------
    traces : dict of workload hash to tvm.s_tir.schedule.Trace
    """

    def __init__(self, traces):
        self._traces = traces

    def schedule(self, func):
        trace = self._traces.get(shash2hex(as_workload(func)))
        if trace is None:
            return None
        sch = s_tir.Schedule(tvm.IRModule({"main": func}))
        trace.apply_to_schedule(sch, remove_postproc=False)
        return sch

    def missed(self, name: str) -> None:
        pass


class Network:
    """Programs of one model that differ in their kernels' schedules.

    Parameters
    ----------
    unscheduled : Unscheduled
    """

    def __init__(self, unscheduled: Unscheduled):
        self._unscheduled, self._kernels = unscheduled, unscheduled.kernels()
        self._weights = None
        self._frame = np.random.default_rng(0).integers(0, 256, FRAME, np.uint8)

    def program(self, traces: dict):
        """An engine whose kernels have the given schedules, or their defaults."""
        return self.program_with(Chosen(traces))

    def program_with(self, measured):
        """The same with what ``ApplySchedules`` takes."""
        engine = self._unscheduled.program(measured, self._weights)
        self._weights = self._weights if self._weights is not None else engine.weights
        return engine

    def time(self, engines: Sequence, rounds: int, seed: int = 0, on_round: Callable = lambda done, total: None):
        """Seconds of each kernel and of the whole.

        Returns
        -------
        times : list of dict of workload hash to array (rounds,)
            For each engine: seconds of all calls of a kernel in a frame.
        totals : array (engines, rounds)
            Seconds of a frame's kernels together.
        """
        names = [call["kernel"] for call in engines[0].program["calls"]]
        if any([call["kernel"] for call in engine.program["calls"]] != names for engine in engines):
            raise AssertionError("the programs differ in more than schedules")
        runs = self._runs(engines, len(names))
        taken = np.zeros((len(engines), rounds, len(names)))
        random = np.random.default_rng(seed)
        collecting = gc.isenabled()
        gc.disable()
        try:
            for count in range(-WARMUP, rounds):
                for index in random.permutation(len(engines)):
                    run, clock = runs[index]
                    run()
                    if count >= 0:
                        taken[index, count] = np.diff(clock.numpy() @ SECONDS)
                on_round(max(count + 1, 0), rounds)
        finally:
            if collecting:
                gc.enable()
        of = np.array([self._kernels.get(name, "") for name in names])
        times = [{key: taken[index][:, of == key].sum(axis=1) for key in set(of)} for index in range(len(engines))]
        return times, taken.sum(axis=2)

    def _runs(self, engines, calls: int) -> list:
        """(Run, its clock) of each, all on one workspace."""
        nbytes = [max(engine.program["workspace_bytes"], 1) for engine in engines]
        shared = ExternalBuffer.allocate((max(nbytes),), "uint8")
        runs = []
        for engine, size in zip(engines, nbytes):
            workspace = ExternalBuffer.from_pointer(shared.address, (size,), "uint8", owner=shared)
            inputs = engine.signature.wrap_inputs(self._frame)
            outputs = engine.signature.wrap_outputs(engine.allocate_output())
            clock = ExternalBuffer.allocate((calls + 1, 2), "int64")
            function, private = engine._get_function("main_timed"), [engine.weights, workspace, clock]
            runs.append((Run(function, inputs, list(outputs.values()), private), clock))
        return runs
