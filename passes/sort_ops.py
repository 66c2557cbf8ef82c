"""TopK as one loop nest with memory planned ahead, for models that choose their best boxes in the graph (YOLOv10).

TVM's own lowering calls its runtime's sort library, which allocates. Here each row becomes 64-bit keys, the value's
order in the upper half and its place in the lower, and three stable passes of a radix sort over the upper half: linear,
and equal values stay in their order, as in onnxruntime.
"""

import math

import tvm
from tvm import relax, topi

from .detection_head.loops import loops_for
from .detection_head.script import T, sblock
from .detection_head.select import DIGITS, digit

SIGN = 0x80000000
ALL = 0xFFFFFFFF


def topk_kernel(rows: int, size: int, k: int, dtype: str, index_dtype: str, largest: bool, loops):
    """Kernel ``(data, values, indices, keys, spare, digits)``.

    ``data`` is ``(rows, size)`` float32 or int32; ``values`` and ``indices`` are ``(rows, k)``, best first. Workspaces:
    ``keys`` and ``spare`` ``(rows, size)`` uint64, ``digits`` ``(rows, 3 * DIGITS)`` int32.
    """

    def order(value):
        """A uint32 that is the greater the sooner the value comes."""
        if dtype == "int32":
            up = T.bitwise_xor(T.reinterpret("uint32", value), T.uint32(SIGN))
        else:
            bits = T.reinterpret("uint32", value)
            negative = T.shift_right(bits, T.uint32(31)) == T.uint32(1)
            up = T.bitwise_xor(bits, T.Select(negative, T.uint32(ALL), T.uint32(SIGN)))
            up = T.Select(value == T.float32(0), T.uint32(SIGN), up)  # -0.0 equals 0.0
        return up if largest else T.bitwise_xor(up, T.uint32(ALL))

    def key(value, place):
        return T.bitwise_or(T.shift_left(T.Cast("uint64", order(value)), T.uint64(32)), T.Cast("uint64", place))

    @T.prim_func(private=True, s_tir=True)
    def topk(
        data: T.Buffer((rows, size), dtype),
        values: T.Buffer((rows, k), dtype),
        indices: T.Buffer((rows, k), index_dtype),
        keys: T.Buffer((rows, size), "uint64"),
        spare: T.Buffer((rows, size), "uint64"),
        digits: T.Buffer((rows, 3 * DIGITS), "int32"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True, "op_pattern": 8})
        with sblock("root"):
            T.reads()
            T.writes()
            for r in loops.parallel(rows):
                start = T.alloc_buffer((2,), "int32", scope=loops.scope)
                for d in T.serial(3 * DIGITS):
                    digits[r, d] = 0
                for j in T.serial(size):
                    keys[r, j] = key(data[r, j], j)
                    for place in T.unroll(3):
                        digits[r, place * DIGITS + digit(keys[r, j], place)] += 1
                for place in T.serial(3):
                    start[0] = 0
                    for d in T.serial(DIGITS):
                        start[1] = digits[r, place * DIGITS + d]
                        digits[r, place * DIGITS + d] = start[0]
                        start[0] = start[0] + start[1]
                for j in T.serial(size):
                    start[0] = digit(keys[r, j], 0)
                    spare[r, digits[r, start[0]]] = keys[r, j]
                    digits[r, start[0]] = digits[r, start[0]] + 1
                for j in T.serial(size):
                    start[0] = DIGITS + digit(spare[r, j], 1)
                    keys[r, digits[r, start[0]]] = spare[r, j]
                    digits[r, start[0]] = digits[r, start[0]] + 1
                for j in T.serial(size):
                    start[0] = 2 * DIGITS + digit(keys[r, j], 2)
                    spare[r, digits[r, start[0]]] = keys[r, j]
                    digits[r, start[0]] = digits[r, start[0]] + 1
                for j in T.serial(k):
                    start[0] = T.Cast("int32", T.bitwise_and(spare[r, j], T.uint64(ALL)))
                    values[r, j] = data[r, start[0]]
                    indices[r, j] = T.Cast(index_dtype, start[0])

    return topk


def _topk(builder, call):
    """relax.topk of float32 or int32 along any axis; of anything else it stays as it is."""
    data, attrs = call.args[0], call.attrs
    shape = [int(extent) for extent in data.ty.shape]
    dtype = str(data.ty.dtype)
    if dtype not in ("float32", "int32"):
        return call
    axis, last = int(attrs.axis) % len(shape), len(shape) - 1
    k = min(int(attrs.k), shape[axis]) if int(attrs.k) >= 1 else shape[axis]
    order = [a for a in range(len(shape)) if a != axis] + [axis]
    moved = [shape[a] for a in order]
    if axis != last:
        data = builder.emit_te(topi.transpose, data, order)
    rows, size = math.prod(moved[:-1]), shape[axis]
    kernel = topk_kernel(
        rows, size, k, dtype, str(attrs.dtype), bool(attrs.largest), loops_for(tvm.target.Target.current())
    )
    results = [
        relax.TensorType((rows, k), dtype),
        relax.TensorType((rows, k), str(attrs.dtype)),
        *[relax.TensorType((rows, size), "uint64")] * 2,
        relax.TensorType((rows, 3 * DIGITS), "int32"),
    ]
    flat = builder.emit(relax.op.reshape(data, (rows, size)))
    whole = builder.emit(relax.call_tir(builder.add_func(kernel, "topk"), relax.Tuple([flat]), results))
    parts = []
    for index in {"both": (0, 1), "values": (0,), "indices": (1,)}[str(attrs.ret_type)]:
        part = builder.emit(relax.TupleGetItem(whole, index))
        part = builder.emit(relax.op.reshape(part, (*moved[:-1], k)))
        if axis != last:
            part = builder.emit_te(topi.transpose, part, [order.index(a) for a in range(len(shape))])
        parts.append(part)
    return relax.Tuple(parts) if len(parts) == 2 else parts[0]


SORT_LEGALIZATIONS = {"relax.topk": _topk}
