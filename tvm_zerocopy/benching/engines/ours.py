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

        return Loaded(run, work.compile_seconds, os.path.getsize(work.artifact))
