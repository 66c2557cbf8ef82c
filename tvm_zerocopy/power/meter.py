"""The meter: sensors around a run."""

from __future__ import annotations

import time

from .choose import choose
from .result import PowerResult, power_result


class Meter:
    """Measures between ``with`` and the end of its block; use `sampler` to make one.

    Parameters
    ----------
    sensors : sequence
        As `choose` gives them; they measure different things, so that their totals add up.
    """

    def __init__(self, sensors):
        self._sensors = list(sensors)

    def __enter__(self) -> Meter:
        self._found = {}
        started = []
        try:
            for sensor in self._sensors:
                sensor.start()
                started.append(sensor)
        except BaseException:
            for sensor in started:
                sensor.stop()
            raise
        self._begin = time.monotonic()
        return self

    def __exit__(self, *_) -> None:
        self.seconds = time.monotonic() - self._begin
        self._found = {sensor.name: sensor.stop() for sensor in self._sensors}

    def result(self, frames: int) -> PowerResult:
        """The result of the block, in which ``frames`` frames were done.

        Raises
        ------
        UnsupportedError
            If the block was too short for the sensors.
        """
        return power_result(self._found, self.seconds, frames)


def sampler(sensors=None) -> Meter:
    """A meter of the sensors that this machine has, or of those given.

    Raises
    ------
    UnsupportedError
        If no sensor can be read; it says why.
    """
    return Meter(choose() if sensors is None else sensors)


def measure(run, seconds: float = 3.0, sensors=None, frames_a_call: int = 1) -> PowerResult:
    """Call ``run()`` again and again for some seconds under a meter.

    Parameters
    ----------
    run : callable
        Does ``frames_a_call`` frames.
    seconds : float
        At least one call is made, however long it takes.
    sensors : sequence, optional
        As `choose` gives them, which is what is used by default.

    Raises
    ------
    UnsupportedError
        If no sensor can be read; it says why.
    """
    frames = 0
    with sampler(sensors) as meter:
        end = time.monotonic() + seconds
        while frames == 0 or time.monotonic() < end:
            run()
            frames += frames_a_call
    return meter.result(frames)
