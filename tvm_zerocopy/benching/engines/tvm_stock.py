"""TVM as it comes: the same ONNX through its frontend and default pipeline for this CPU; OpenCV around it."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ..opencv_work import OpenCVWork
from .base import OPENCV, EngineAdapter, Loaded


class TvmStock(EngineAdapter):
    """``relax.build`` without schedules of this project, run by the Relax virtual machine."""

    def __init__(self, name: str, title: str):
        super().__init__(name, title, needs=[("tvm", "apache-tvm"), OPENCV])

    def load(self, work):
        import tvm
        from tvm import relax

        from ...frontend import import_onnx
        from ...targets import resolve_target

        target = resolve_target("llvm")
        begin = time.perf_counter()
        module = import_onnx(work.model, {work.input_name: work.input_shape}).module
        with target:
            executable = relax.build(relax.get_pipeline("zero")(module), target)
        seconds = time.perf_counter() - begin
        library = Path(work.folder) / "tvm_stock.so"
        executable.export_library(str(library))
        network = relax.VirtualMachine(executable, tvm.cpu())["main"]
        around = OpenCVWork(work)

        def run(frame):
            found = network(tvm.runtime.tensor(around.blob(frame)))
            values = [found] if hasattr(found, "numpy") else list(found)
            return around.results([value.numpy() for value in values])

        return Loaded(run, seconds, os.path.getsize(library), around.output_shapes)
