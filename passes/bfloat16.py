"""bfloat16 as its bits in uint16: the upper half of a float32.

TVM's own bfloat16 is turned into such integers late in lowering; here they are integers from the start, so that views,
copies and memory planning see two-byte elements and nothing else.
"""

from __future__ import annotations

import numpy as np
from tvm import te, tirx

ROUND = 0x7FFF  # half a unit of what stays, less one


def to_bits(array: np.ndarray) -> np.ndarray:
    """float32 to bfloat16 bits, to nearest, ties to even."""
    bits = np.ascontiguousarray(array, "float32").view("uint32")
    return ((bits + ROUND + ((bits >> 16) & 1)) >> 16).astype("uint16")


def from_bits(array: np.ndarray) -> np.ndarray:
    """bfloat16 bits to float32; exact."""
    return (array.astype("uint32") << 16).view("float32")


def pack(data):
    """Tensor expression of ``to_bits``."""

    def element(*index):
        bits = tirx.reinterpret("uint32", data(*index))
        odd = (bits >> _u32(16)) & _u32(1)
        return ((bits + _u32(ROUND) + odd) >> _u32(16)).astype("uint16")

    return te.compute(data.shape, element, name="to_bfloat16")


def pack_blocks(data, channels, lanes):
    """``pack`` of a blocked tensor (N, CB, H, W, c) with so many channels. Vectors of ``lanes`` values without any are
    zero, and nothing that ``data`` is computed from is computed for them."""
    bits, vectors, in_block = pack(data), -(-channels // lanes), int(data.shape[-1]) // lanes
    if vectors == int(data.shape[1]) * in_block:
        return bits

    def element(*index):
        return tirx.if_then_else(index[1] * in_block + index[-1] // lanes < vectors, bits(*index), _u16(0))

    return te.compute(data.shape, element, name="pack_blocks")


def unpack(data):
    """Tensor expression of ``from_bits``."""
    return te.compute(
        data.shape,
        lambda *index: tirx.reinterpret("float32", data(*index).astype("uint32") << _u32(16)),
        name="from_bfloat16",
    )


def pack_pixels(data, lanes):
    """float32 (N, C, H, W) with C <= lanes to bfloat16 bits (N, 1, H, W, lanes); lanes past C are zero."""
    n, channels, height, width = data.shape
    channels = int(channels)
    bits = pack(data)

    def element(n, _, h, w, c):
        value = bits[n, tirx.min(c, channels - 1), h, w]
        return tirx.if_then_else(c < channels, value, _u16(0))

    return te.compute((n, 1, height, width, lanes), element, name="pack_pixels")


def _u16(value):
    return tirx.const(value, "uint16")


def _u32(value):
    return tirx.const(value, "uint32")
