"""CPU schedule rules; ``rules()`` is the one list, first match wins."""

from __future__ import annotations

from .bfloat16_conv2d import Bfloat16Conv2d
from .conv2d import Conv2dNCHWc
from .fallback import Fallback
from .machine import Machine, machine_of
from .matmul import Matmul
from .preprocess import Preprocess, PreprocessTaps
from .winograd import WinogradConv2dNCHWc
from .winograd_strided import WinogradStridedConv2dNCHWc


def rules():
    """The rules in the order in which they are tried."""
    return [
        Preprocess(),
        PreprocessTaps(),
        Bfloat16Conv2d(),
        WinogradConv2dNCHWc(),
        WinogradStridedConv2dNCHWc(),
        Conv2dNCHWc(),
        Matmul(),
        Fallback(),
    ]


__all__ = [
    "Bfloat16Conv2d",
    "Conv2dNCHWc",
    "Fallback",
    "Machine",
    "Matmul",
    "Preprocess",
    "PreprocessTaps",
    "WinogradConv2dNCHWc",
    "WinogradStridedConv2dNCHWc",
    "machine_of",
    "rules",
]
