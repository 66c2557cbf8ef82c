"""OpenCV's INTER_LINEAR on uint8 and INTER_NEAREST, as expressions. Source: its modules/imgproc/src/resize.cpp."""

from typing import Callable

import numpy as np

from .geometry import Axis
from .ops import tir

COEFFICIENT_BITS = 11  # OpenCV's INTER_RESIZE_COEF_BITS


def linear_taps(axis: Axis, position, weight_at_edge, bind: Callable):
    """What the input's pixel ``position`` (int32) interpolates between along one axis.

    Returns four int32: the two source indices and their weights times 2048. Outside the picture the first index is -1.
    ``weight_at_edge`` (bool): beyond the outermost pixel centres OpenCV's columns forget the second weight, its rows
    keep it.
    """
    target = position - axis.start
    half = tir.const(0.5, "float64")
    # at = (target + 0.5) * step - 0.5; the max changes nothing and keeps the compiler from making a fused multiply-add,
    # whose unrounded product is not what OpenCV computes
    product = tir.max((tir.Cast("float64", target) + half) * axis.step, tir.const(0, "float64"))
    at = bind("at", tir.Cast("float32", product - half))
    below = bind("below", tir.floor(at))
    index, weight, last = bind("index", tir.Cast("int32", below)), at - below, axis.size - 1
    forgotten = tir.all(tir.Not(weight_at_edge), tir.any(index < 0, index >= last))
    weight = bind("weight", tir.Select(forgotten, tir.const(0, "float32"), weight))
    first, second = (tir.max(tir.min(i, last), 0) for i in (index, index + 1))
    weights = (_fixed_point(tir.const(1, "float32") - weight), _fixed_point(weight))
    return (_inside_or_minus_one(axis, target, first), second, *weights)


def falls_on_pixels(axis: Axis) -> bool:
    """Whether along an axis of known size all input pixels lie on the centres of source pixels (1920 to 640: on every
    third), so that the second of `linear_taps` never has a weight."""
    at = ((np.arange(axis.new) + 0.5) * axis.step.value - 0.5).astype(np.float32)
    weight = at - np.floor(at)
    return bool((at >= 0).all() and (np.rint(weight * np.float32(1 << COEFFICIENT_BITS)) == 0).all())


def nearest_tap(axis: Axis, position):
    """The source index (int32) for the input's pixel ``position`` along one axis, -1 outside the picture."""
    target = position - axis.start
    index = tir.Cast("int32", tir.floor(tir.Cast("float64", target) * axis.step))
    return (_inside_or_minus_one(axis, target, tir.min(index, axis.size - 1)),)


def bilinear(corners, row_weights, column_weights):
    """Level 0..255 between ``corners[row][column]`` (0..255); weights are the linear ones times 2048. All int32.

    The rounding is that of OpenCV's ``VResizeLinear`` for uint8: each row loses 4 bits, then 16, before the sum is
    rounded.
    """
    level = 2
    for (left, right), row_weight in zip(corners, row_weights):
        across = left * column_weights[0] + right * column_weights[1]
        level = level + ((row_weight * (across >> 4)) >> 16)
    return level >> 2


def _fixed_point(weight):
    return tir.Cast("int32", tir.nearbyint(weight * tir.const(float(1 << COEFFICIENT_BITS), "float32")))


def _inside_or_minus_one(axis, target, index):
    return tir.Select(tir.all(target >= 0, target < axis.new), index, tir.const(-1, "int32"))
