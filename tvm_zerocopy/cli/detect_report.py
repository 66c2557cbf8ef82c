"""What ``detect`` says: a table of detections, the frame rate and one JSON object a frame."""

import statistics
from collections import Counter
from pathlib import Path
from typing import List, NamedTuple, Optional, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from . import UsageError

MOST_ROWS = 60


class Found(NamedTuple):
    """Detections of one frame: boxes float32 (n, 4) xyxy in frame pixels, scores float32 (n,), classes int32 (n,)."""

    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray


def class_name(number: int, names: Optional[Sequence[str]]) -> str:
    return names[number] if names and 0 <= number < len(names) else f"class {number}"


def as_json(index: int, source: str, found: Found, names: Optional[Sequence[str]]) -> dict:
    """The object that ``--json`` writes for one frame."""
    detections = [
        {
            "box": [round(float(v), 2) for v in box],
            "score": round(float(score), 4),
            "class": int(number),
            "name": class_name(int(number), names),
        }
        for box, score, number in zip(*found)
    ]
    return {"frame": index, "source": source, "detections": detections}


class ClassFilter:
    """Keeps the classes of ``--classes``; None keeps all."""

    def __init__(self, wanted: Optional[str]):
        self._words = None if wanted is None else [word.strip() for word in wanted.split(",") if word.strip()]
        if self._words == []:
            raise UsageError("--classes is empty; give names or numbers, for example person,2")
        self._numbers = None

    def __call__(self, found: Found, names: Optional[Sequence[str]]) -> Found:
        if self._words is None:
            return found
        if self._numbers is None:
            self._numbers = [self._number(word, names or ()) for word in self._words]
        keep = np.isin(found.classes, self._numbers)
        return Found(*(values[keep] for values in found))

    @staticmethod
    def _number(word: str, names: Sequence[str]) -> int:
        if word in names:
            return list(names).index(word)
        if word.isdecimal() and (not names or int(word) < len(names)):
            return int(word)
        known = (
            ", ".join(names[:20]) + (", ..." if len(names) > 20 else "") if names else "only numbers: it has no names"
        )
        raise UsageError(f"--classes: the model has no class {word!r}; it has {known}")


class Summary:
    """Collects what the table and the last line need."""

    def __init__(self):
        self._rows: List[tuple] = []
        self._stills = 0
        self._counts = Counter()
        self._model_seconds: List[float] = []

    def add(self, name: str, still: bool, found: Found, names, model_seconds: float) -> None:
        """One frame; ``model_seconds`` from frame to boxes."""
        self._model_seconds.append(model_seconds)
        self._stills += still
        for box, score, number in zip(*found):
            label = class_name(int(number), names)
            self._counts[label] += 1
            if still:
                self._rows.append((name, label, f"{score:.2f}", *(f"{v:.1f}" for v in box)))

    def print(self, console: Console, written: Sequence, seconds: float) -> None:
        """The table of detections (pictures) or counts (moving pictures), what was saved, and the frame rate.

        ``seconds``: of the whole run without compilation.
        """
        frames = len(self._model_seconds)
        if not frames:
            return
        if self._rows:
            console.print(self._detections())
        if frames > self._stills and self._counts:
            console.print(", ".join(f"{count} x {name}" for name, count in self._counts.most_common()))
        total = sum(self._counts.values())
        console.print(f"{total} detections in {frames} {'frame' if frames == 1 else 'frames'}")
        if written:
            more = f" and {len(written) - 5} more" if len(written) > 5 else ""
            console.print(f"saved {', '.join(map(str, written[:5]))}{more}", soft_wrap=True)
        median = statistics.median(self._model_seconds)
        console.print(
            f"frame to boxes: {median * 1e3:.1f} ms ({1 / median:.1f} frames/s); "
            f"with reading, drawing and saving: {frames / seconds:.1f} frames/s",
            soft_wrap=True,
        )

    def _detections(self) -> Table:
        table = Table("picture", "class", "score", "x1", "y1", "x2", "y2")
        for column in table.columns[2:]:
            column.justify, column.no_wrap = "right", True
        for name, *row in self._rows[:MOST_ROWS]:
            table.add_row(Path(name).name, *row)
        if len(self._rows) > MOST_ROWS:
            table.add_row("...", f"{len(self._rows) - MOST_ROWS} more: --json")
        return table
