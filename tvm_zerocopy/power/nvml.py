"""Discrete NVIDIA GPUs: the energy counter of NVML, or its power reading on GPUs before Volta.

NVML API Reference: ``nvmlDeviceGetTotalEnergyConsumption`` (millijoules since the driver was loaded; Volta and later),
``nvmlDeviceGetPowerUsage`` (milliwatts of the whole board).
"""

from __future__ import annotations

import os
import time

from ..errors import UnsupportedError
from .polling import Poller
from .result import Energy, integrate

_INTERVAL = 0.05  # seconds; NVML renews its power reading every 20 to 100 ms
_INSTALL = "nvidia-ml-py is not installed: pip install nvidia-ml-py"


class Nvml:
    """The sensor of one GPU: the first of CUDA_VISIBLE_DEVICES, else number 0 (in the order of the PCI bus).

    Raises
    ------
    UnsupportedError
        If nvidia-ml-py or the driver is missing, or the GPU tells no power.
    """

    name = "NVML"

    def __init__(self):
        try:
            import pynvml
        except ImportError:
            raise UnsupportedError(_INSTALL) from None
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._device = _first_visible(pynvml)
            name = pynvml.nvmlDeviceGetName(self._device)
            self._rail = name.decode() if isinstance(name, bytes) else name
            try:
                pynvml.nvmlDeviceGetTotalEnergyConsumption(self._device)
                self._counts = True
            except pynvml.NVMLError:
                pynvml.nvmlDeviceGetPowerUsage(self._device)
                self._counts = False
        except pynvml.NVMLError as error:
            raise UnsupportedError(f"{error} (it needs an NVIDIA driver and a discrete GPU)") from None

    def start(self) -> None:
        self._readings = []
        self._read()
        self._poller = Poller(self._read, _INTERVAL)

    def stop(self) -> Energy:
        self._poller.stop()
        (begin, first), (end, last) = self._readings[0], self._readings[-1]
        joules = last - first if self._counts else integrate(*zip(*self._readings), begin, end)
        return Energy({self._rail: joules}, joules, len(self._readings), end - begin)

    def _read(self) -> None:
        if self._counts:
            value = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._device)
        else:
            value = self._nvml.nvmlDeviceGetPowerUsage(self._device)
        self._readings.append((time.monotonic(), value / 1000))


def _first_visible(pynvml):
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    if chosen.isdecimal():
        return pynvml.nvmlDeviceGetHandleByIndex(int(chosen))
    return pynvml.nvmlDeviceGetHandleByUUID(chosen.encode())
