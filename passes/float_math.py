"""exp, sigmoid, tanh and relatives in plain float32 arithmetic, which vectorizes; libm calls do not.

TVM lowers ``exp`` and ``sigmoid`` to scalar calls of libm. Here exp(x) = 2^n * 2^f with n = round(x / ln 2) and
|f| <= 1/2: 2^f by the minimax polynomial of degree 5 (Remez' algorithm for the relative error, which is 7.5e-8), 2^n by
adding n to the exponent's bits. Within 2 units in the last place of float32 over the whole range (tested).
"""

from __future__ import annotations

import tvm
from tvm import te, tirx

LOG2E_HIGH = 1.44269502162933349609375  # log2(e) to 24 bits, and the rest of it
LOG2E_LOW = 1.925963033500011079e-08
EXP2_COEFFICIENTS = (
    1.3276472454890609e-3,
    9.675540961325169e-3,
    5.550713092088699e-2,
    2.4022120237350464e-1,
    6.931469440460205e-1,
    1.0000001192092896,
)
EXP_LOWEST, EXP_HIGHEST = -86.9, 88.37  # between them 2^n * 2^f is a normal float32
ROUNDER = 1.5 * 2**23  # a float32 of this size has no fraction: adding it rounds, and leaves n in the lowest bits


def exp(x):
    """e^x of a float32 expression; saturates at the ends of the normal range."""
    x = tirx.max(tirx.min(x, _f32(EXP_HIGHEST)), _f32(EXP_LOWEST))
    rounded = tirx.reinterpret("int32", x * _f32(LOG2E_HIGH) + _f32(ROUNDER))
    # through int32, because the simplifier would take (a + b) - b for a
    n = tirx.reinterpret("float32", rounded) - _f32(ROUNDER)
    f = (x * _f32(LOG2E_HIGH) - n) + x * _f32(LOG2E_LOW)
    y = _f32(EXP2_COEFFICIENTS[0])
    for coefficient in EXP2_COEFFICIENTS[1:]:
        y = y * f + _f32(coefficient)
    bits = tirx.reinterpret("int32", y) + (rounded << 23)
    return tirx.reinterpret("float32", bits)


def sigmoid(x):
    """1 / (1 + e^-x)."""
    return _f32(1) / (_f32(1) + exp(-x))


def silu(x):
    """x / (1 + e^-x)."""
    return x / (_f32(1) + exp(-x))


def tanh(x):
    """(1 - e^-2|x|) / (1 + e^-2|x|) with the sign of x; an odd polynomial near 0, where that loses digits.

    Polynomial: Cephes ``tanhf``, |x| < 0.625.
    """
    magnitude = tirx.abs(x)
    decay = exp(magnitude * _f32(-2))
    far = (_f32(1) - decay) / (_f32(1) + decay)
    z = x * x
    p = _f32(-5.70498872745e-3)
    for coefficient in (2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1):
        p = p * z + _f32(coefficient)
    near = p * z * x + x
    return tirx.Select(magnitude < _f32(0.625), near, tirx.Select(x < _f32(0), -far, far))


def _f32(value):
    return tirx.const(value, "float32")


def _elementwise(function, name):
    def legalize(builder, call):
        data = call.args[0]
        if data.ty.dtype != "float32":
            return call.op.get_attr("FLegalize")(builder, call)
        return builder.call_te(
            lambda x: te.compute(x.shape, lambda *i: function(x(*i)), name=name), data, primfunc_name_hint=name
        )

    return legalize


def _softmax(builder, call):
    data, axis = call.args[0], int(call.attrs.axis)
    if data.ty.dtype != "float32":
        return call.op.get_attr("FLegalize")(builder, call)

    def compute(x):
        position = axis % len(x.shape)
        reduced = [extent for i, extent in enumerate(x.shape) if i != position]

        def at(index, k):
            return (*index[:position], k, *index[position:])

        k1, k2 = te.reduce_axis((0, x.shape[position]), "k1"), te.reduce_axis((0, x.shape[position]), "k2")
        peak = te.compute(reduced, lambda *i: te.max(x(*at(i, k1)), axis=k1), name="softmax_max")

        def rest(index):
            return (*index[:position], *index[position + 1 :])

        scaled = te.compute(x.shape, lambda *i: exp(x(*i) - peak(*rest(i))), name="softmax_exp")
        total = te.compute(reduced, lambda *i: te.sum(scaled(*at(i, k2)), axis=k2), name="softmax_sum")
        return te.compute(x.shape, lambda *i: scaled(*i) / total(*rest(i)), name="softmax")

    return builder.call_te(compute, data, primfunc_name_hint="softmax")


def _power(builder, call):
    base, exponent = call.args
    constant = exponent.value.numpy() if isinstance(exponent, tvm.ir.GenericConst) else None
    if constant is None or constant.size != 1 or constant.ndim > len(base.ty.shape) or constant.reshape(()) != 2:
        return call.op.get_attr("FLegalize")(builder, call)
    return builder.call_te(
        lambda x: te.compute(x.shape, lambda *i: x(*i) * x(*i), name="square"), base, primfunc_name_hint="square"
    )


LEGALIZATIONS = {
    "relax.exp": _elementwise(exp, "exp"),
    "relax.sigmoid": _elementwise(sigmoid, "sigmoid"),
    "relax.nn.silu": _elementwise(silu, "silu"),
    "relax.tanh": _elementwise(tanh, "tanh"),
    "relax.nn.softmax": _softmax,
    "relax.power": _power,
}
