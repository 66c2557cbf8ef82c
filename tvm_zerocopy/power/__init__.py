"""Watts and joules while something runs: tegrastats on a Jetson, NVML on other NVIDIA GPUs, RAPL on x86.

``with power.sampler() as meter: ...`` and then ``meter.result(frames)``; or `measure`, which does the running too.
"""

from .choose import choose
from .meter import Meter, measure, sampler
from .result import Energy, PowerResult

__all__ = ["Energy", "Meter", "PowerResult", "choose", "measure", "sampler"]
