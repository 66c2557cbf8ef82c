"""Weights from PyTorch checkpoints, read as data: without PyTorch and without running what the file holds."""

from .checkpoint import Checkpoint, load_checkpoint
from .hub import download
from .onnx_export import Exported, export_onnx
from .recognize import check_fits, class_count, recognize

__all__ = [
    "Checkpoint",
    "Exported",
    "check_fits",
    "class_count",
    "download",
    "export_onnx",
    "load_checkpoint",
    "recognize",
]
