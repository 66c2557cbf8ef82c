"""What the tuner needs of the machine it runs on."""

from __future__ import annotations

import shutil

from ..diagnosis.machine import cpu_name
from ..errors import UnsupportedError
from ..schedules.cpu import machine_of

__all__ = ["cpu_name", "peak_gflops", "require_compiler"]


def peak_gflops(target) -> float:
    """Measured multiply-add peak of all allowed cores, GFLOP/s (see ``diagnosis.peak``)."""
    from ..diagnosis import peak

    return peak.measure(target, machine_of(target).lanes)


def require_compiler() -> None:
    """Candidates become shared libraries, which needs a C compiler.

    Raises
    ------
    UnsupportedError
    """
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        raise UnsupportedError("tuning links its candidates with a C compiler and none was found; install gcc or clang")
