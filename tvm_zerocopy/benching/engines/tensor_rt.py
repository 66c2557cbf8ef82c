"""TensorRT through its own Python API: build from ONNX, frame's input to the GPU, run, outputs back; OpenCV around."""

from __future__ import annotations

import os
import time

import numpy as np

from ...errors import ModelError, UnsupportedError
from ..opencv_work import OpenCVWork
from .base import OPENCV, EngineAdapter, Loaded

_WORKSPACE = 1 << 30  # bytes that tactics may use


class TensorRT(EngineAdapter):
    """``precision``: fp32, fp16 or int8 (calibrated on the race's frames).

    Needs TensorRT 8.5 to 10: since 11 a network's types are the model's own, so there a float32 model is fp32 only.
    """

    def __init__(self, name: str, title: str, precision: str):
        needs = [("tensorrt", "'tensorrt<11'"), ("cuda.bindings.runtime", "cuda-bindings"), OPENCV]
        super().__init__(name, title, reduced=precision != "fp32", needs=needs)
        self.precision = precision

    def load(self, work):
        import tensorrt as trt
        from cuda.bindings import runtime as cuda

        around = OpenCVWork(work)
        logger = trt.Logger(trt.Logger.ERROR)
        begin = time.perf_counter()
        plan = self._plan(trt, cuda, logger, work, around)
        seconds = time.perf_counter() - begin
        engine = trt.Runtime(logger).deserialize_cuda_engine(plan)
        if engine is None:
            raise UnsupportedError("TensorRT cannot read the engine that it built; its log says why")
        path = os.path.join(work.folder, f"{self.name}.engine")
        with open(path, "wb") as file:
            file.write(plan)
        network = _Network(trt, cuda, engine)

        def run(frame):
            return around.results(network(around.blob(frame)))

        return Loaded(run, seconds, os.path.getsize(path), around.output_shapes)

    def _plan(self, trt, cuda, logger, work, around):
        wanted = {"fp16": ("FP16",), "int8": ("FP16", "INT8")}.get(self.precision, ())
        if not all(hasattr(trt.BuilderFlag, flag) for flag in wanted):
            raise UnsupportedError(
                f"TensorRT {trt.__version__} computes in the model's own types and builds no {self.precision} from "
                "float32: pip install 'tensorrt<11'"
            )
        builder = trt.Builder(logger)
        explicit = getattr(trt.NetworkDefinitionCreationFlag, "EXPLICIT_BATCH", None)  # gone where it is the only way
        network = builder.create_network(1 << int(explicit) if explicit is not None else 0)
        parser = trt.OnnxParser(network, logger)
        if not parser.parse_from_file(str(work.model)):
            raise ModelError(f"TensorRT cannot parse the model: {parser.get_error(0).desc()}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE)
        profile = builder.create_optimization_profile()
        shape = tuple(work.input_shape)
        profile.set_shape(network.get_input(0).name, shape, shape, shape)
        config.add_optimization_profile(profile)
        if self.precision == "fp32" and hasattr(trt.BuilderFlag, "TF32"):
            config.clear_flag(trt.BuilderFlag.TF32)
        elif self.precision == "fp16":
            config.set_flag(trt.BuilderFlag.FP16)
        elif self.precision == "int8":
            config.set_flag(trt.BuilderFlag.INT8)
            config.set_flag(trt.BuilderFlag.FP16)  # for layers that have no int8 kernel
            config.int8_calibrator = _calibrator(trt, cuda, [around.blob(frame) for frame in work.load_frames()])
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise UnsupportedError(f"TensorRT cannot build the model in {self.precision}; its log says why")
        return bytes(plan)


class _Network:
    """A context with its tensors on the GPU and one stream."""

    def __init__(self, trt, cuda, engine):
        self._cuda, self._engine = cuda, engine
        self._context = engine.create_execution_context()
        self._stream = _check(cuda.cudaStreamCreate())
        self._inputs, self._outputs = [], []
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            host = np.empty(tuple(self._context.get_tensor_shape(name)), trt.nptype(engine.get_tensor_dtype(name)))
            device = _check(cuda.cudaMalloc(host.nbytes))
            self._context.set_tensor_address(name, int(device))
            taken = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (self._inputs if taken else self._outputs).append((host, device))

    def __call__(self, blob: np.ndarray) -> list[np.ndarray]:
        cuda, ((_, device),) = self._cuda, self._inputs
        to_device, to_host = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice, cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        _check(cuda.cudaMemcpyAsync(device, blob.ctypes.data, blob.nbytes, to_device, self._stream))
        if not self._context.execute_async_v3(int(self._stream)):
            raise UnsupportedError("TensorRT did not run the engine; its log says why")
        for host, source in self._outputs:
            _check(cuda.cudaMemcpyAsync(host.ctypes.data, source, host.nbytes, to_host, self._stream))
        _check(cuda.cudaStreamSynchronize(self._stream))
        return [host for host, _ in self._outputs]


def _calibrator(trt, cuda, blobs):
    """Entropy calibration over the blobs."""
    if not hasattr(trt, "IInt8EntropyCalibrator2"):
        raise UnsupportedError("this TensorRT has no calibrator; give a model that is quantized already")

    class Calibrator(trt.IInt8EntropyCalibrator2):
        def __init__(self):
            super().__init__()
            self._left = list(blobs)
            self._device = _check(cuda.cudaMalloc(blobs[0].nbytes))

        def get_batch_size(self):
            return 1

        def get_batch(self, names):
            if not self._left:
                return None
            blob, kind = self._left.pop(), cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
            _check(cuda.cudaMemcpy(self._device, blob.ctypes.data, blob.nbytes, kind))
            return [int(self._device)]

        def read_calibration_cache(self):
            return None

        def write_calibration_cache(self, cache):
            pass

    return Calibrator()


def _check(result):
    """A CUDA runtime call's value, or its error."""
    error, *values = result
    if int(error) != 0:
        raise UnsupportedError(f"CUDA reports {error.name}")
    return values[0] if values else None
