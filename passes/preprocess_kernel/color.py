"""Samples of one pixel to its RGB levels, as integer expressions (int32 in, int32 0..255 out)."""

from tvm_zerocopy.color import ROUND, SHIFT, yuv_matrix
from tvm_zerocopy.specs import Frame

from .ops import tir


def _clamp_u8(value):
    return tir.max(tir.min(value, 255), 0)


def to_rgb(frame: Frame, samples):
    """(R, G, B) levels of one pixel from its ``samples``, in the order of ``samples.channels``."""
    if not frame.is_yuv:
        return samples if len(samples) == 3 else samples * 3
    m = yuv_matrix(frame.matrix, frame.range)
    y, u, v = samples
    u, v = u - 128, v - 128
    luma = tir.max(y - m.offset, 0) * m.y + ROUND
    red, green, blue = luma + v * m.rv, luma + u * m.gu + v * m.gv, luma + u * m.bu
    return [_clamp_u8(level >> SHIFT) for level in (red, green, blue)]
