"""A program for one GPU on another one."""

import numpy as np
import pytest

import tvm_zerocopy as tz
from tvm_zerocopy.buffers import ExternalBuffer, cuda
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.models import build


def test_a_gpu_that_cannot_run_the_kernels(compile_emulated, monkeypatch):
    engine = compile_emulated(build("yolov5n", size=32, classes=3), postprocess=None, preprocess=tz.Preprocess())
    frame = ExternalBuffer.allocate((32, 32, 3), np.uint8, kind="managed")
    monkeypatch.setattr(cuda.CudaRuntime, "arch", lambda self, device_id=0: "sm_90")
    with pytest.raises(UnsupportedError, match="compiled for sm_72 .cubin. and this GPU is sm_90, .*cuda -arch=sm_90"):
        engine(frame)
    engine.metadata["device_code"] = "ptx"  # as `Engine.export(ptx=True)` writes it
    assert len(engine(frame)) == 1


def test_a_driver_that_cannot_run_the_kernels(compile_emulated, fake_cuda, monkeypatch):
    engine = compile_emulated(build("yolov5n", size=32, classes=3), postprocess=None, preprocess=tz.Preprocess())
    engine.metadata["cuda"] = {"toolkit": [12, 9], "driver": [12, 0]}  # as an artifact of CUDA 12.9 says
    frame = ExternalBuffer.allocate((32, 32, 3), np.uint8, kind="managed")
    with pytest.raises(UnsupportedError, match=r"CUDA 12\.9 and need a driver of CUDA 12\.0 .* of CUDA 11\.4"):
        engine(frame)
    monkeypatch.setattr(fake_cuda, "driver", 12020)
    assert len(engine(frame)) == 1
