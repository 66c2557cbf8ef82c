"""Memory accesses of one warp: bytes, instructions, sectors of global memory, wavefronts of shared memory."""

from __future__ import annotations

import numpy as np
from tvm import tirx

SECTOR = 32  # bytes that a global access moves at least, and a multiple of which it moves
BANKS = 32  # of shared memory, 4 bytes each


def sectors(offsets: np.ndarray, width: int) -> int:
    """Of global memory that accesses of ``width`` bytes at those offsets touch."""
    return len(np.union1d(offsets // SECTOR, (offsets + width - 1) // SECTOR))


def instructions(index, width: int) -> int:
    """Of one access: a vector of neighbours is one up to 16 bytes, other vectors are one a lane."""
    lanes = lanes_of(index)
    if isinstance(index, tirx.Ramp) and not (isinstance(index.stride, tirx.IntImm) and int(index.stride) == 1):
        return lanes
    return max(1, lanes * width // 16)


def wavefronts(offsets: np.ndarray, width: int) -> int:
    """128-byte passes of one warp access to shared memory: the most distinct words that any bank must give."""
    words = np.unique(np.concatenate([(offsets.reshape(-1) + byte) // 4 for byte in range(0, width, 4)]))
    return int(np.bincount(words % BANKS, minlength=BANKS).max())


def buffer_bytes(buffer) -> int:
    count = 1
    for extent in buffer.shape:
        count *= int(extent) if isinstance(extent, tirx.IntImm) else 1
    return count * element_bytes(buffer) * buffer_lanes(buffer)


def buffer_lanes(buffer) -> int:
    text = str(buffer.dtype)
    return int(text.rsplit("x", 1)[1]) if "x" in text else 1


def element_bytes(buffer) -> int:
    digits = "".join(c for c in str(buffer.dtype).split("x")[0] if c.isdigit())
    return max(1, int(digits or 8) // 8)


def lanes_of(expr) -> int:
    text = str(expr.ty)
    return int(text.rsplit("x", 1)[1]) if "x" in text else 1
