"""`Detections`: the boxes of one frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

import numpy as np


@dataclass(frozen=True, eq=False)
class Detections:
    """What was found in one frame, best score first.

    Attributes
    ----------
    boxes : numpy array, float32, (n, 4)
        Left, top, right and bottom edge in pixels of the frame.
    scores : numpy array, float32, (n,)
    classes : numpy array, int32, (n,)
    names : tuple of str or None
        Of all classes, by number.
    """

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    names: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self):
        """(box, score, class) of each detection."""
        return zip(self.boxes, self.scores, self.classes)

    def name_of(self, index: int) -> str:
        """Class name of the detection with that number; the class number as text if there are no names."""
        number = int(self.classes[index])
        return self.names[number] if self.names and number < len(self.names) else str(number)

    def copy(self) -> Detections:
        """The same in memory of its own, for those that outlive the buffer they are views of."""
        return Detections(self.boxes.copy(), self.scores.copy(), self.classes.copy(), self.names)

    @classmethod
    def of_frame(cls, outputs, frame: int, names=None) -> Detections:
        """One frame's detections, as views of the program's outputs: boxes, scores, classes and count, batch first."""
        boxes, scores, classes, count = (output[frame] for output in outputs)
        found = int(count)
        return cls(boxes[:found], scores[:found], classes[:found], names)
