"""Where the picture lies in the input, as expressions of the frame's size where that is known at run time only.

The same arithmetic as ``tvm_zerocopy.geometry``, in float64: the whole numbers that come out are the same for every
size.
"""

from typing import NamedTuple, Tuple

from tvm_zerocopy import geometry
from tvm_zerocopy.specs import Preprocess

from .ops import tir


class Axis(NamedTuple):
    """One axis of the picture: ``size`` source pixels become ``new`` pixels of the input, from ``start`` on (int32)."""

    size: object
    start: object
    new: object
    step: object  # source pixels an input pixel, float64


def picture_axes(height, width, input_height: int, input_width: int, preprocess: Preprocess) -> Tuple[Axis, Axis]:
    """Rows and columns of a ``height`` x ``width`` frame's picture; sizes are integers or int64 expressions."""
    if isinstance(height, int):
        g = geometry.letterbox(height, width, input_height, input_width, preprocess)
    else:
        g = symbolic_letterbox(height, width, input_height, input_width, preprocess)
    return _axis(height, g.top, g.new_height), _axis(width, g.left, g.new_width)


def symbolic_letterbox(height, width, input_height: int, input_width: int, preprocess: Preprocess) -> geometry.Geometry:
    """``geometry.letterbox`` for integer expressions ``height`` and ``width``: scales are float64, the rest int32."""
    h, w = tir.Cast("float64", height), tir.Cast("float64", width)
    fit_y, fit_x = tir.const(input_height, "float64") / h, tir.const(input_width, "float64") / w
    if preprocess.resize == "stretch":
        return geometry.Geometry(fit_x, fit_y, 0, 0, input_width, input_height)
    ratio = tir.min(fit_y, fit_x)
    if not preprocess.scaleup:
        ratio = tir.min(ratio, tir.const(1, "float64"))
    whole = tir.nearbyint if preprocess.rounding == "nearest" else tir.floor  # nearbyint: half to even
    new_width = tir.max(tir.Cast("int32", whole(w * ratio)), 1)
    new_height = tir.max(tir.Cast("int32", whole(h * ratio)), 1)
    left = top = 0
    if preprocess.align == "center":
        left, top = (input_width - new_width) // 2, (input_height - new_height) // 2
    return geometry.Geometry(ratio, ratio, left, top, new_width, new_height)


def _axis(size, start, new):
    if isinstance(size, int):
        return Axis(size, start, new, tir.const(1 / (new / size), "float64"))
    # OpenCV inverts the inverse. The max changes nothing: TVM's analysis of integers takes the ratio for zero.
    step = tir.const(1, "float64") / tir.max(_float64(new) / _float64(size), tir.const(1e-300, "float64"))
    return Axis(tir.Cast("int32", size), start, new, step)


def _float64(value):
    return tir.const(value, "float64") if isinstance(value, int) else tir.Cast("float64", value)
