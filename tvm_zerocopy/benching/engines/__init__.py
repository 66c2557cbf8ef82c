"""Engines of the race by name, one file an engine."""

from __future__ import annotations

from .base import EngineAdapter, Loaded
from .onnx_runtime import OnnxRuntime
from .open_vino import OpenVino
from .ours import Ours, OursReduced
from .pytorch import PyTorch
from .tensor_rt import TensorRT
from .tvm_stock import TvmStock

__all__ = ["ENGINES", "EngineAdapter", "Loaded"]

ENGINES: dict[str, EngineAdapter] = {
    engine.name: engine
    for engine in (
        Ours("ours", "tvm-zerocopy"),
        OursReduced("ours-bf16", "tvm-zerocopy bf16", "bfloat16"),
        OnnxRuntime("onnxruntime", "onnxruntime + OpenCV", "CPUExecutionProvider"),
        OpenVino("openvino", "OpenVINO f32", "f32"),
        OpenVino("openvino-bf16", "OpenVINO bf16", "bf16"),
        PyTorch("pytorch", "PyTorch channels_last", False),
        PyTorch("pytorch-compile", "PyTorch compiled", True),
        TvmStock("tvm", "TVM stock"),
        OnnxRuntime("onnxruntime-cuda", "onnxruntime CUDA", "CUDAExecutionProvider"),
        OnnxRuntime("onnxruntime-tensorrt", "onnxruntime TensorRT", "TensorrtExecutionProvider"),
        TensorRT("tensorrt", "TensorRT fp32", "fp32"),
        TensorRT("tensorrt-fp16", "TensorRT fp16", "fp16"),
        TensorRT("tensorrt-int8", "TensorRT int8", "int8"),
    )
}
