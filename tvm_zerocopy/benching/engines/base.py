"""What an engine of the race is: it says what it lacks, loads in a process of its own, and takes frames to results."""

from __future__ import annotations

import importlib.util
from typing import Callable, Sequence

from ..work import Work


class Loaded:
    """An engine ready to run.

    Attributes
    ----------
    run : callable
        One frame (a uint8 array) to ``(boxes, scores, classes)`` as numpy arrays, or to the raw outputs.
    compile_seconds : float or None
        What making it from the model took.
    artifact_bytes : int or None
        Of the file that is deployed.
    output_shapes : callable
        Asked after the first run: the shapes of what the network (this project: the compiled program) gives.
    """

    def __init__(
        self,
        run: Callable,
        compile_seconds: float | None,
        artifact_bytes: int | None,
        output_shapes: Callable[[], list],
    ):
        self.run, self.compile_seconds, self.artifact_bytes = run, compile_seconds, artifact_bytes
        self.output_shapes = output_shapes


class EngineAdapter:
    """One way from frame to boxes.

    Attributes
    ----------
    name : str
        As in ``--engines``.
    title : str
        For tables and plots.
    reduced : bool
        It computes in less than float32: its boxes may differ a little more.
    needs : sequence of (str, str)
        (module, what to install) of what it cannot run without.
    """

    def __init__(self, name: str, title: str, reduced: bool = False, needs: Sequence[tuple[str, str]] = ()):
        self.name, self.title, self.reduced, self.needs = name, title, reduced, needs

    def missing(self, work: Work) -> str | None:
        """How to install what is missing; None if it can run."""
        absent = [install for module, install in self.needs if not _installed(module)]
        if absent:
            return "pip install " + " ".join(dict.fromkeys(absent))
        if work.model is None:
            return "give the ONNX model instead of the artifact: other engines cannot read that"
        return None

    def load(self, work: Work) -> Loaded:
        """Called in the engine's own process.

        Raises
        ------
        ZeroCopyError
            Or whatever the engine raises.
        """
        raise NotImplementedError


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # its parent package
        return False


OPENCV = ("cv2", "opencv-python-headless")
