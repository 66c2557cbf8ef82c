"""This project: the compiled program, bound to its memory."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ...errors import UnsupportedError
from .base import EngineAdapter, Loaded

_SHORT = {"bfloat16": "bf16", "float16": "fp16"}


class Ours(EngineAdapter):
    """Runs the artifact, with TVM's runtime alone."""

    def missing(self, work):
        return None

    def load(self, work):
        return _loaded(work.artifact, work.compile_seconds)

    def in_precision(self, precision: str) -> Ours:
        """The same where the artifact computes in ``precision``: held to what that can reach, and called so."""
        if precision == "float32":
            return self
        return Ours(self.name, f"{self.title} {_SHORT.get(precision, precision)}", reduced=True)


class OursReduced(EngineAdapter):
    """Compiles the model in another ``precision`` and runs that."""

    def __init__(self, name: str, title: str, precision: str):
        super().__init__(name, title, reduced=True)
        self.precision = precision

    def missing(self, work):
        from ...pipeline import check_precision
        from ...targets import resolve_target

        try:
            check_precision(self.precision, resolve_target("llvm"))
        except UnsupportedError as error:
            return str(error)
        return super().missing(work)

    def load(self, work):
        from ...compiler import compile as compile_model

        path = Path(work.folder) / f"{self.name}.so"
        if path.exists():  # an earlier process of this race made it
            return _loaded(str(path), None)
        begin = time.perf_counter()
        engine = compile_model(
            work.model,
            frame=work.frame,
            preprocess=work.preprocess,
            postprocess=work.postprocess,
            precision=self.precision,
            shapes=work.input_shape,
        )
        seconds = time.perf_counter() - begin
        engine.export(str(path))
        return _loaded(str(path), seconds)


def _loaded(path, compile_seconds):
    from ...artifact import load

    engine = load(path)

    def run(frame):
        result = engine(frame)
        return result if isinstance(result, tuple) else (result.boxes, result.scores, result.classes)

    def output_shapes():
        return [list(field.shape) for field in engine.output_layout.values()]

    return Loaded(run, compile_seconds, os.path.getsize(path), output_shapes)
