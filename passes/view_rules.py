"""Which operators need no kernel because their result is the same memory seen differently, and where in it.

`LegalizeOps(VIEW_LEGALIZE_MAP)` leaves exactly those as operators; `LowerMainToPrimFunc` turns them into addresses.
"""

from __future__ import annotations

import math
from typing import Callable

import tvm
from tvm import relax, tirx

from .memory_plan import ALIGNMENT
from .raw_kernel import dtype_bytes

RESHAPES = ("relax.reshape", "relax.flatten", "relax.expand_dims", "relax.squeeze")


def static_shape(ty) -> tuple[int, ...] | None:
    """The shape of a tensor type if every axis is a number."""
    shape = ty.shape if isinstance(ty, relax.TensorType) else None
    if not isinstance(shape, relax.ShapeExpr) or not all(isinstance(value, tirx.IntImm) for value in shape.values):
        return None
    return tuple(int(value) for value in shape.values)


def tensor_bytes(ty) -> int:
    """Bytes of a dense tensor with a static shape."""
    return math.prod(static_shape(ty)) * dtype_bytes(str(ty.dtype))


def tensor_fields(expression) -> list:
    """The tensors of an operator's tuple argument, if they are listed there."""
    return list(expression.fields) if isinstance(expression, relax.Tuple) else []


def is_reshape_view(call) -> bool:
    """True if the elements stay in order: a reshape, flatten, expand_dims or squeeze with static shapes."""
    return static_shape(call.args[0].ty) is not None and static_shape(call.ty) is not None


def concat_offsets(call) -> list[int] | None:
    """Byte offset of each input in the result, if each input is one block of it that starts on an aligned byte."""
    fields = tensor_fields(call.args[0])
    shape = static_shape(call.ty)
    axis = int(call.attrs.axis) if call.attrs.axis is not None else 0
    if not fields or shape is None or any(static_shape(field.ty) is None for field in fields):
        return None
    return _blocks(shape, axis, [tensor_bytes(field.ty) for field in fields])


def split_offsets(call) -> list[int] | None:
    """Byte offset of each part in the input, if each part is one block of it that starts on an aligned byte."""
    shape = static_shape(call.args[0].ty)
    if shape is None or any(static_shape(field) is None for field in call.ty.fields):
        return None
    return _blocks(shape, int(call.attrs.axis), [tensor_bytes(field) for field in call.ty.fields])


def _blocks(shape, axis: int, sizes: list[int]) -> list[int] | None:
    if math.prod(shape[: axis % len(shape)]) != 1:
        return None
    offsets = [sum(sizes[:index]) for index in range(len(sizes))]
    return offsets if all(offset % ALIGNMENT == 0 for offset in offsets) else None


def _unless(is_view: Callable) -> Callable:
    def legalize(builder, call):
        if is_view(call):
            return call
        return tvm.ir.Op.get(call.op.name).get_attr("FLegalize")(builder, call)

    return legalize


def _reshape(builder, call):
    """A view, except of what a conversion from the blocked layout just wrote: it writes the next layout at once."""
    before = builder.lookup_binding(call.args[0]) if isinstance(call.args[0], relax.Var) else None
    converts = isinstance(before, relax.Call) and getattr(before.args[0], "name_hint", "").startswith("from_blocked")
    return call if is_reshape_view(call) and not converts else call.op.get_attr("FLegalize")(builder, call)


VIEW_LEGALIZE_MAP: dict[str, Callable] = {
    **dict.fromkeys(RESHAPES, _reshape),
    "relax.concat": _unless(lambda call: concat_offsets(call) is not None),
    "relax.split": _unless(lambda call: split_offsets(call) is not None),
}
