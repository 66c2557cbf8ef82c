"""NVML through a stand-in for its Python package, whose readings are known."""

import sys
import types

import pytest

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.power.nvml import Nvml


class NVMLError(Exception):
    pass


def fake(energy=None, power=None, fail=False):
    """A module like pynvml; ``energy`` (mJ) and ``power`` (mW) are lists of readings, the last one repeated."""
    asked = []

    def init():
        if fail:
            raise NVMLError("Driver Not Loaded")

    def reading(values):
        def read(_device):
            if values is None:
                raise NVMLError("Not Supported")
            return values.pop(0) if len(values) > 1 else values[0]

        return read

    return types.SimpleNamespace(
        asked=asked,
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlDeviceGetHandleByIndex=lambda index: asked.append(index) or "device",
        nvmlDeviceGetHandleByUUID=lambda uuid: asked.append(uuid) or "device",
        nvmlDeviceGetName=lambda _device: b"NVIDIA A100",
        nvmlDeviceGetTotalEnergyConsumption=reading(energy),
        nvmlDeviceGetPowerUsage=reading(power),
    )


def install(monkeypatch, module):
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return module


def test_the_energy_counter(monkeypatch):
    install(monkeypatch, fake(energy=[5_000, 7_000, 12_500]))
    sensor = Nvml()  # the first reading is to see whether there is a counter
    sensor.start()
    energy = sensor.stop()
    assert energy.rails == {"NVIDIA A100": 5.5} and energy.total == 5.5


def test_a_gpu_without_counter(monkeypatch):
    install(monkeypatch, fake(power=[250_000]))
    sensor = Nvml()
    sensor.start()
    energy = sensor.stop()
    seconds = sensor._readings[-1][0] - sensor._readings[0][0]
    assert energy.total == pytest.approx(250 * seconds) and energy.seconds == seconds and energy.samples >= 2


@pytest.mark.parametrize("visible, asked", [("2,0", 2), ("GPU-4b3c", b"GPU-4b3c"), ("", 0)])
def test_the_gpu_that_cuda_uses(monkeypatch, visible, asked):
    module = install(monkeypatch, fake(energy=[1]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    Nvml()
    assert module.asked == [asked]


@pytest.mark.parametrize("module", [fake(), fake(fail=True)], ids=["no power", "no driver"])
def test_no_figures(monkeypatch, module):
    install(monkeypatch, module)
    with pytest.raises(UnsupportedError, match="it needs an NVIDIA driver"):
        Nvml()


def test_no_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(UnsupportedError, match="pip install nvidia-ml-py"):
        Nvml()
