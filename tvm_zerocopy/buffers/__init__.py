"""Memory that the caller owns: wrapped or allocated once, read and written in place by the compiled program."""

from .external import ExternalBuffer
from .ring import FrameRing, RingClosed, RingCounters, RingTimeout, Slot

__all__ = ["ExternalBuffer", "FrameRing", "RingClosed", "RingCounters", "RingTimeout", "Slot"]
