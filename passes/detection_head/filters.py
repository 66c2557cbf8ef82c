"""Which candidate filter reads a head."""

from .filter_columns import class_filter
from .filter_rows import end2end_filter, objectness_filter
from .recognize import Head
from .workspace import Chunks


def candidate_filter(head: Head, in_columns: bool, chunks: Chunks, conf: float, loops):
    """The filter kernel for the head; ``in_columns``: its value is ``(batch, values, boxes)``."""
    if head.name == "end2end":
        return end2end_filter(chunks, conf, loops)
    if in_columns:
        return class_filter(chunks, head.classes, conf, loops, head.name != "yolov8", head.levels)
    return objectness_filter(chunks, head.classes, conf, loops, head.levels)
