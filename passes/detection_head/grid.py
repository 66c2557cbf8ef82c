"""Feature-map grids of YOLO heads: which cells there are for an input size."""

from dataclasses import dataclass
from typing import List, Optional, Tuple

# Pixels a cell of each level: the usual three levels, with P6, with P2, and the two of tiny models.
STRIDE_SETS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


@dataclass(frozen=True)
class Level:
    """One feature map: its first row among the predictions, its cells and the pixels a cell."""

    start: int
    height: int
    width: int
    stride: int


def levels_of(input_size: Tuple[int, int], strides: Tuple[int, ...]) -> List[Level]:
    """The levels of an input of ``(height, width)`` pixels, one prediction a cell."""
    levels, start = [], 0
    for stride in strides:
        height, width = (-(-side // stride) for side in input_size)
        levels.append(Level(start, height, width, stride))
        start += height * width
    return levels


def find_levels(rows: int, input_size: Optional[Tuple[int, int]], anchors: int) -> Optional[List[Level]]:
    """The levels that have ``rows`` predictions with so many anchors a cell; None if no usual set of strides does."""
    if input_size is None:
        return None
    for strides in STRIDE_SETS:
        levels = levels_of(input_size, strides)
        if anchors * sum(level.height * level.width for level in levels) == rows:
            return levels
    return None
