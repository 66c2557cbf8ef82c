"""Figures of a list of times, and what changed between two of them beyond noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Sequence

import numpy as np

CONFIDENCE = 0.99
RESAMPLES = 4000
BLOCK = 5  # frames measured one after the other (a turn of the race): they share a disturbance, so they stay together
LEAST_BLOCKS = 4
# How far the median of the same program moves from one process to the next, where that is not measured: of 91 pairs of
# runs of the embedded model two moved further (benchmarks/false_alarms.py, on a virtual machine with two cores).
PROCESS_NOISE = 0.08
LEAST_PROCESSES = 3  # of both results, for that noise to be measured


@dataclass(frozen=True)
class Summary:
    """Of times in seconds. ``std`` is the sample's (n - 1); ``fps`` is one over the median."""

    count: int
    mean: float
    std: float
    min: float
    max: float
    median: float
    p99: float
    fps: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Summary:
        values = np.asarray(seconds, float)
        if not values.size:
            raise ValueError("no times to summarize")
        median = float(np.median(values))
        return cls(
            count=int(values.size),
            mean=float(values.mean()),
            std=float(values.std(ddof=1)) if values.size > 1 else 0.0,
            min=float(values.min()),
            max=float(values.max()),
            median=median,
            p99=float(np.percentile(values, 99)),
            fps=1 / median if median else float("inf"),
        )

    def to_dict(self) -> dict:
        return asdict(self)


@dataclass(frozen=True)
class Change:
    """The new median over the old.

    Attributes
    ----------
    ratio, low, high : float
        And its 99% interval.
    floor : float
        Noise that the interval does not know, as a part of the median.
    verdict : {"faster", "slower", "within noise"}
        Not within noise if the whole interval lies further from 1 than ``floor``.
    """

    ratio: float
    low: float
    high: float
    floor: float

    @property
    def verdict(self) -> str:
        if self.high < 1 / (1 + self.floor):
            return "faster"
        return "slower" if self.low > 1 + self.floor else "within noise"


def change(old: Sequence[Sequence[float]], new: Sequence[Sequence[float]], floor: float = 0.0) -> Change:
    """What changed between two measurements, each the seconds of one or more processes.

    With `LEAST_PROCESSES` in both, Welch's t interval of the logarithms of the processes' medians, which are
    independent. With fewer, a block-bootstrap interval of the frames' medians (Efron and Tibshirani 1993, chapter 13
    and section 8.6), which cannot know how processes differ: then ``floor`` is at least `PROCESS_NOISE`.
    """
    if min(len(old), len(new)) >= LEAST_PROCESSES:
        return _between_processes(old, new, floor)
    return frames_alone(np.concatenate(old), np.concatenate(new), max(floor, PROCESS_NOISE))


def _between_processes(old, new, floor: float) -> Change:
    from scipy.stats import ttest_ind

    before, after = (np.log([np.median(seconds) for seconds in processes]) for processes in (old, new))
    middle = float(after.mean() - before.mean())
    if not before.std() and not after.std():  # the t statistic of no spread is no number
        return Change(float(np.exp(middle)), float(np.exp(middle)), float(np.exp(middle)), floor)
    interval = ttest_ind(after, before, equal_var=False).confidence_interval(CONFIDENCE)
    return Change(*(float(np.exp(value)) for value in (middle, interval.low, interval.high)), floor)


def frames_alone(old: Sequence[float], new: Sequence[float], floor: float = 0.0) -> Change:
    """Block-bootstrap interval of one process each: the noise within the runs and nothing of that between them."""
    from scipy.stats import bootstrap

    old_blocks, new_blocks = _blocks(old), _blocks(new)

    def ratio(a, b, axis):  # arrays of block numbers, the last axis is a resample
        return _median_of(new_blocks, a) / _median_of(old_blocks, b)

    numbers = (np.arange(len(new_blocks)), np.arange(len(old_blocks)))
    middle = float(np.median(new) / np.median(old))
    if min(map(len, numbers)) < 2:
        return Change(middle, 0.0, float("inf"), floor)
    interval = bootstrap(
        numbers,
        ratio,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        vectorized=True,
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Change(middle, float(interval.low), float(interval.high), floor)


def _blocks(seconds: Sequence[float]) -> np.ndarray:
    """(blocks, frames of each); few frames are blocks of one. A last, short block is left out."""
    values = np.asarray(seconds, float)
    size = BLOCK if len(values) >= LEAST_BLOCKS * BLOCK else 1
    return values[: len(values) // size * size].reshape(-1, size)


def _median_of(blocks: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    values = blocks[chosen.astype(int)]
    return np.median(values.reshape(*chosen.shape[:-1], -1), axis=-1)
