"""This project: the compiled program, bound to its memory."""

from __future__ import annotations

import os

from .base import EngineAdapter, Loaded


class Ours(EngineAdapter):
    """Runs the artifact, with TVM's runtime alone."""

    def missing(self, work):
        return None

    def load(self, work):
        from ...artifact import load

        engine = load(work.artifact)

        def run(frame):
            result = engine(frame)
            return result if isinstance(result, tuple) else (result.boxes, result.scores, result.classes)

        def output_shapes():
            return [list(field.shape) for field in engine.output_layout.values()]

        return Loaded(run, work.compile_seconds, os.path.getsize(work.artifact), output_shapes)
