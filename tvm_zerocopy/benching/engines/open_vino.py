"""OpenVINO: letterbox by OpenCV (its own resize is slower); colour, float and normalization by its PrePostProcessor."""

from __future__ import annotations

import os
import time

import numpy as np

from ..opencv_work import OpenCVWork
from .base import OPENCV, EngineAdapter, Loaded


class OpenVino(EngineAdapter):
    """``precision``: OpenVINO's INFERENCE_PRECISION_HINT, ``f32`` or ``bf16``."""

    def __init__(self, name: str, title: str, precision: str):
        super().__init__(name, title, reduced=precision != "f32", needs=[("openvino", "openvino"), OPENCV])
        self.precision = precision

    def load(self, work):
        import openvino

        around = OpenCVWork(work)
        begin = time.perf_counter()
        core = openvino.Core()
        core.set_property({"ENABLE_MMAP": True})
        network = core.read_model(work.model)
        network.reshape(list(work.input_shape))
        compiled = core.compile_model(
            self._with_preprocessing(openvino, network, work),
            "CPU",
            {
                "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": self.precision,
                "INFERENCE_NUM_THREADS": work.threads,
            },
        )
        seconds = time.perf_counter() - begin
        request = compiled.create_infer_request()
        outputs = list(compiled.outputs)

        def run(frame):
            found = request.infer([around.resized(frame)[None]], share_inputs=True, share_outputs=True)
            return around.results([found[output] for output in outputs])

        return Loaded(run, seconds, os.path.getsize(work.model), around.output_shapes)

    @staticmethod
    def _with_preprocessing(openvino, network, work):
        kinds = openvino.preprocess
        layout = openvino.Layout
        preprocess = work.preprocess
        steps = kinds.PrePostProcessor(network)
        entry = steps.input()
        entry.tensor().set_element_type(openvino.Type.u8).set_layout(layout("NHWC"))
        entry.tensor().set_color_format(kinds.ColorFormat.BGR)
        entry.model().set_layout(layout(preprocess.layout))
        todo = entry.preprocess()
        if preprocess.channel_order == "rgb":
            todo.convert_color(kinds.ColorFormat.RGB)
        todo.convert_element_type(openvino.Type.f32)
        # value = (u8 * scale - mean) / std
        mean = np.array(preprocess.mean) / preprocess.scale
        if mean.any():
            todo.mean(mean.tolist())
        todo.scale((np.array(preprocess.std) / preprocess.scale).tolist())
        return steps.build()
