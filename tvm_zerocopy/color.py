"""YUV to RGB as 20-bit fixed point, the arithmetic of OpenCV's ``cvtColor``. Plain data.

luma = max(0, Y - offset) * y
R = clamp((luma + rv * (V - 128) + 2**19) >> 20)
G = clamp((luma + gu * (U - 128) + gv * (V - 128) + 2**19) >> 20)
B = clamp((luma + bu * (U - 128) + 2**19) >> 20)
"""

from typing import NamedTuple

SHIFT = 20
ROUND = 1 << (SHIFT - 1)


class YuvMatrix(NamedTuple):
    """Coefficients times ``2**SHIFT``; ``offset`` in u8 levels."""

    offset: int
    y: int
    rv: int
    gu: int
    gv: int
    bu: int


# ITUR_BT_601_* of OpenCV's modules/imgproc/src/color_yuv.simd.hpp: three-decimal coefficients, kept so that results are
# equal to cvtColor's bit for bit.
_OPENCV_BT601_LIMITED = YuvMatrix(offset=16, y=1220542, rv=1673527, gu=-409993, gv=-852492, bu=2116026)

# (Kr, Kb): ITU-R BT.601-7 section 2.5.1, ITU-R BT.709-6 item 3.2
_LUMA_WEIGHTS = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}


def yuv_matrix(matrix: str, range_: str) -> YuvMatrix:
    """The coefficients of a ``Frame.matrix`` and ``Frame.range``.

    ``R = Y' + 2 (1 - Kr) V'``, ``B = Y' + 2 (1 - Kb) U'``, ``G = (Y' - Kr R - Kb B) / (1 - Kr - Kb)``, where limited
    range stretches luma by 255/219 and chroma by 255/224 (the same recommendations, quantization tables).
    """
    if (matrix, range_) == ("bt601", "limited"):
        return _OPENCV_BT601_LIMITED
    kr, kb = _LUMA_WEIGHTS[matrix]
    kg = 1 - kr - kb
    offset, luma, chroma = (16, 255 / 219, 255 / 224) if range_ == "limited" else (0, 1.0, 1.0)
    rv, bu = 2 * (1 - kr) * chroma, 2 * (1 - kb) * chroma
    exact = (luma, rv, -bu * kb / kg, -rv * kr / kg, bu)
    return YuvMatrix(offset, *(round(c * (1 << SHIFT)) for c in exact))
