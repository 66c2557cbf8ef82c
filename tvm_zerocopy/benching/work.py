"""`Work`: what every engine of a race does, from the same frames, with the same threads."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..specs import Frame, Nms, Preprocess


@dataclass(frozen=True)
class Work:
    """From camera frame to final boxes (or raw outputs). Plain data: it is handed to each engine's process.

    Attributes
    ----------
    folder : str
        Holds ``frame0.npy``, ``frame1.npy``, ... and what engines keep.
    frames : int
        How many frames there are; each one array of the shape that ``frame`` says.
    model : str or None
        The ONNX file; None where only a compiled artifact was given.
    artifact : str or None
        This project's own artifact; None if it could not be compiled.
    compile_seconds : float or None
        Spent on making it; None if it was given.
    input_shape : tuple of int
        Of the model's float32 input, static.
    postprocess : Nms or None
        With the head's name; None: raw outputs.
    """

    folder: str
    frames: int
    model: str | None
    artifact: str | None
    compile_seconds: float | None
    input_name: str
    input_shape: tuple[int, ...]
    frame: Frame
    preprocess: Preprocess
    postprocess: Nms | None
    threads: int

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Work:
        fields = json.loads(text)
        fields["input_shape"] = tuple(fields["input_shape"])
        for name, kind in (("frame", Frame), ("preprocess", Preprocess), ("postprocess", Nms)):
            if fields[name] is not None:
                fields[name] = kind.from_json(json.dumps(fields[name]))
        return cls(**fields)

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width of the model's input."""
        shape = self.input_shape
        return tuple(shape[2:] if self.preprocess.layout == "NCHW" else shape[1:3])

    def save_frames(self, frames) -> None:
        for index, frame in enumerate(frames):
            np.save(self._frame_path(index), frame)

    def load_frames(self) -> list[np.ndarray]:
        return [np.load(self._frame_path(index)) for index in range(self.frames)]

    def _frame_path(self, index: int) -> Path:
        return Path(self.folder) / f"frame{index}.npy"
