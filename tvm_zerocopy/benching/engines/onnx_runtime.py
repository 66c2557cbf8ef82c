"""onnxruntime, with OpenCV around it."""

from __future__ import annotations

import os
import time

from ...errors import UnsupportedError
from ..opencv_work import OpenCVWork
from .base import OPENCV, EngineAdapter, Loaded

_INSTALL = {
    "CPUExecutionProvider": "onnxruntime",
    "CUDAExecutionProvider": "onnxruntime-gpu",
    "TensorrtExecutionProvider": "onnxruntime-gpu 'tensorrt<11'",
}
_REPLACES = "pip uninstall onnxruntime (both are one module), then pip install"


class OnnxRuntime(EngineAdapter):
    """``provider``: CPUExecutionProvider, CUDAExecutionProvider or TensorrtExecutionProvider."""

    def __init__(self, name: str, title: str, provider: str):
        super().__init__(name, title, needs=[("onnxruntime", _INSTALL[provider]), OPENCV])
        self.provider = provider

    def missing(self, work):
        reason = super().missing(work)
        if reason is not None:
            return reason
        import onnxruntime

        if self.provider not in onnxruntime.get_available_providers():
            return f"this onnxruntime has no {self.provider}: {_REPLACES} {_INSTALL[self.provider]}"
        return None

    def load(self, work):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = work.threads
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
        begin = time.perf_counter()
        session = onnxruntime.InferenceSession(work.model, options, providers=[self.provider])
        seconds = time.perf_counter() - begin
        if session.get_providers()[0] != self.provider:
            raise UnsupportedError(f"onnxruntime did not start {self.provider}; see its warnings with --debug")
        around = OpenCVWork(work)

        def run(frame):
            return around.results(session.run(None, {work.input_name: around.blob(frame)}))

        return Loaded(run, seconds, os.path.getsize(work.model), around.output_shapes)
