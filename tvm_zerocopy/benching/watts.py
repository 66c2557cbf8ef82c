"""Watts and joules of each engine: after the race each runs alone for some seconds, the others at rest."""

from __future__ import annotations

import statistics
import time

from .. import power
from .contender import Contender

SECONDS = 3.0  # of frames under the meter
CALL = 0.5  # seconds of frames for one request, so that requests cost nothing
REST = 0.5  # seconds before, in which the last engine's threads fall asleep


def engine_watts(contender: Contender, seconds, sensors) -> dict:
    """`power.PowerResult` of a warm engine, as plain data; ``seconds`` are of the frames that it was timed on.

    Raises
    ------
    UnsupportedError
        If the sensors saw nothing.
    ContenderFailed
        If the engine fails.
    """
    frames = max(1, round(CALL / statistics.median(seconds)))
    time.sleep(REST)
    return power.measure(lambda: contender.run(0, frames), SECONDS, sensors, frames).to_dict()
