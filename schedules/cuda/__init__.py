"""CUDA schedule rules; ``rules()`` is the one list, first match wins."""

from __future__ import annotations

from . import wmma
from .conv2d import Conv2d
from .conv2d_wmma import Conv2dWmma
from .fallback import Fallback
from .machine import machine_of
from .preprocess import Preprocess, PreprocessTaps

CHANNEL_BLOCK = 16  # channels that lie together: the side of a tensor core's tile (wmma m16n16k16)


def rules():
    """The rules in the order in which they are tried."""
    wmma.register()  # here and not where a kernel is scheduled: records of tuning logs are replayed without that
    return [Preprocess(), PreprocessTaps(), Conv2dWmma(), Conv2d(), Fallback()]


__all__ = ["CHANNEL_BLOCK", "Conv2d", "Conv2dWmma", "Fallback", "Preprocess", "PreprocessTaps", "machine_of", "rules"]
