"""Figures of a list of times, and what changed between two of them beyond noise."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Sequence

import numpy as np

CONFIDENCE = 0.99
RESAMPLES = 4000


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
    """The new median over the old, and its confidence interval; ``verdict``: faster, slower or within noise."""

    ratio: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        return "faster" if self.high < 1 else "slower" if self.low > 1 else "within noise"


def change(old: Sequence[float], new: Sequence[float]) -> Change:
    """Ratio of medians with a percentile bootstrap interval of both samples (Efron and Tibshirani 1993, chapter 13).

    The interval knows the noise within the two runs, not that between them (another clock rate, other neighbours).
    """
    from scipy.stats import bootstrap

    def ratio(a, b, axis):
        return np.median(a, axis=axis) / np.median(b, axis=axis)

    samples = (np.asarray(new, float), np.asarray(old, float))
    middle = float(ratio(*samples, axis=0))
    if min(map(len, samples)) < 2:
        return Change(middle, 0.0, float("inf"))
    interval = bootstrap(
        samples,
        ratio,
        n_resamples=RESAMPLES,
        confidence_level=CONFIDENCE,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return Change(middle, float(interval.low), float(interval.high))
