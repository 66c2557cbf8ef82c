"""What power sensors find."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from ..errors import UnsupportedError


@dataclass(frozen=True)
class Energy:
    """What one sensor saw between its start and its stop.

    Attributes
    ----------
    rails : dict of str to float
        Joules of each rail or domain that the sensor knows.
    total : float
        Joules; less than the sum of the rails where one feeds another.
    samples : int
        Readings that these figures rest on.
    seconds : float
        From the sensor's start to its stop.
    """

    rails: dict
    total: float
    samples: int
    seconds: float


@dataclass(frozen=True)
class PowerResult:
    """Power and energy of a run.

    Attributes
    ----------
    mean_watts : float
    joules : float
        ``mean_watts`` times ``seconds``.
    joules_per_frame, frames_per_joule : float
    rails : dict of str to float
        Mean watts of each rail. They need not add up to ``mean_watts``: some feed others.
    source : str
        The sensors, for example "RAPL + NVML".
    samples : int
        Readings, of the sensor with the fewest.
    seconds : float
    """

    mean_watts: float
    joules: float
    joules_per_frame: float
    frames_per_joule: float
    rails: dict
    source: str
    samples: int
    seconds: float

    def to_dict(self) -> dict:
        return dataclasses.asdict(self)


def power_result(found: dict, seconds: float, frames: int) -> PowerResult:
    """The result for one run.

    Parameters
    ----------
    found : dict of str to Energy
        By the sensor's name.
    seconds : float
    frames : int

    Raises
    ------
    UnsupportedError
        If the run was so short that a sensor saw nothing.
    """
    if frames < 1:
        raise ValueError(f"{frames} frames; joules per frame need at least 1")
    seen = all(energy.seconds > 0 and energy.total > 0 for energy in found.values())
    if seconds <= 0 or not seen:
        raise UnsupportedError(
            f"the power sensor ({' + '.join(found)}) saw no energy in {seconds:.3f} s; run more frames, at least 1 s"
        )
    # Sensors start and stop one after the other, so that each has a time of its own.
    watts = sum(energy.total / energy.seconds for energy in found.values())
    joules = watts * seconds
    return PowerResult(
        mean_watts=watts,
        joules=joules,
        joules_per_frame=joules / frames,
        frames_per_joule=frames / joules,
        rails={rail: spent / energy.seconds for energy in found.values() for rail, spent in energy.rails.items()},
        source=" + ".join(found),
        samples=min(energy.samples for energy in found.values()),
        seconds=seconds,
    )


def integrate(times, watts, begin: float, end: float) -> float:
    """Joules between two moments of a power that was read at some times: linear between them, constant outside.

    Parameters
    ----------
    times, watts : sequence of float
        Seconds, ascending; at least one.
    """
    moments = np.concatenate([[begin], [time for time in times if begin < time < end], [end]])
    values = np.interp(moments, times, watts)
    return float(np.sum((values[1:] + values[:-1]) / 2 * np.diff(moments)))
