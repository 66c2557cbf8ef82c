"""Values of index expressions for the threads of a warp, with NumPy."""

from __future__ import annotations

import numpy as np
from tvm import tirx

_BINARY = {
    tirx.Add: np.add,
    tirx.Sub: np.subtract,
    tirx.Mul: np.multiply,
    tirx.FloorDiv: np.floor_divide,
    tirx.FloorMod: np.mod,
    tirx.Div: np.floor_divide,
    tirx.Mod: np.fmod,
    tirx.Min: np.minimum,
    tirx.Max: np.maximum,
    tirx.EQ: np.equal,
    tirx.NE: np.not_equal,
    tirx.LT: np.less,
    tirx.LE: np.less_equal,
    tirx.GT: np.greater,
    tirx.GE: np.greater_equal,
    tirx.And: np.logical_and,
    tirx.Or: np.logical_or,
    tirx.LShift: np.left_shift,
    tirx.RShift: np.right_shift,
    tirx.BitwiseAnd: np.bitwise_and,
    tirx.BitwiseOr: np.bitwise_or,
    tirx.BitwiseXor: np.bitwise_xor,
}


class Unknown(Exception):
    """An expression whose value the code alone does not tell: it reads memory, or takes a run-time size."""


def evaluate(expr, values: dict):
    """An integer expression for many threads at once.

    Parameters
    ----------
    expr : tirx expression
    values : dict of tirx.Var to array
        One value a thread; missing variables are unknown.

    Returns
    -------
    numpy array, (threads,), or (threads, lanes) for a vector

    Raises
    ------
    Unknown
    """
    kind = type(expr)
    if kind is tirx.IntImm:
        return np.int64(expr.value)
    if kind is tirx.Var:
        if expr not in values:
            raise Unknown(expr.name)
        return values[expr]
    if kind in _BINARY:
        return _BINARY[kind](evaluate(expr.a, values), evaluate(expr.b, values))
    if kind is tirx.Cast:
        return evaluate(expr.value, values)
    if kind is tirx.Not:
        return np.logical_not(evaluate(expr.a, values))
    if kind is tirx.Ramp:
        base = np.asarray(evaluate(expr.base, values))[..., None]
        return base + evaluate(expr.stride, values) * np.arange(int(expr.lanes))
    if kind is tirx.Broadcast:
        return np.asarray(evaluate(expr.value, values))[..., None] + np.zeros(int(expr.lanes), "int64")
    if kind is tirx.Select:
        chosen = evaluate(expr.condition, values)
        return np.where(chosen, evaluate(expr.true_value, values), evaluate(expr.false_value, values))
    raise Unknown(kind.__name__)
