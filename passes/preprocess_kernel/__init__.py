"""Colour conversion, resize, padding and normalization as one kernel."""

from .kernel import KERNEL_ATTR, STRIDED_ATTR, preprocess_kernel, specs_of
from .taps import open_sizes, taps_kernel
from .tensors import FrameTensors, frame_tensors

__all__ = [
    "KERNEL_ATTR",
    "STRIDED_ATTR",
    "FrameTensors",
    "frame_tensors",
    "open_sizes",
    "preprocess_kernel",
    "specs_of",
    "taps_kernel",
]
