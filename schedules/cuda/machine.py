"""What a schedule needs to know of a GPU."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tvm.target import Target

# Streaming multiprocessors of the usual part of each architecture; data sheets. Jetson: Nano, TX2, Xavier, Orin.
PROCESSORS = {53: 1, 62: 2, 72: 8, 87: 16, 70: 80, 75: 40, 80: 108, 86: 46, 89: 76, 90: 132}


@dataclass(frozen=True)
class Machine:
    """A GPU.

    Attributes
    ----------
    arch : int
        72 for sm_72.
    processors : int
        Streaming multiprocessors.
    tensor_cores : bool
        For float16 with float32 sums: sm_70 and later.
    """

    arch: int
    processors: int
    tensor_cores: bool


def machine_of(target: Target) -> Machine:
    """Read off the target's ``arch``; nothing is measured."""
    arch = int(re.sub(r"\D", "", str(target.attrs.get("arch") or "sm_72")) or 72)
    return Machine(arch, PROCESSORS.get(arch, 40), arch >= 70)
