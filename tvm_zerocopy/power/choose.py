"""Which power sensors this machine has."""

from __future__ import annotations

from ..errors import UnsupportedError
from .nvml import Nvml
from .rapl import Rapl
from .tegrastats import Tegrastats


def choose(jetson=(Tegrastats,), others=(Nvml, Rapl)) -> list:
    """The sensors that can be read: tegrastats alone on a Jetson, which knows all its rails; else GPU and CPU.

    Raises
    ------
    UnsupportedError
        If none can; it says why for each.
    """
    reasons = []
    for group in (jetson, others):
        found = []
        for sensor in group:
            try:
                found.append(sensor())
            except UnsupportedError as error:
                reasons.append(f"{sensor.name}: {error}")
        if found:
            return found
    raise UnsupportedError("no power sensor can be read here: " + "; ".join(reasons))
