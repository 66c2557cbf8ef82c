"""TopK with memory planned ahead, for models that choose their best boxes in the graph (YOLOv10).

TVM's own lowering calls its runtime's sort library, which allocates.
"""

import math

import tvm
from tvm import relax, topi

from .detection_head.loops import is_gpu
from .detection_head.select import DIGITS
from .topk_kernels import gpu_topk_kernel, topk_kernel


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
    gpu = is_gpu(tvm.target.Target.current())
    kernel = (gpu_topk_kernel if gpu else topk_kernel)(rows, size, k, dtype, str(attrs.dtype), bool(attrs.largest))
    results = [
        relax.TensorType((rows, k), dtype),
        relax.TensorType((rows, k), str(attrs.dtype)),
        relax.TensorType((rows, size), "uint64"),
        relax.TensorType((rows, k if gpu else size), "uint64"),
        *([] if gpu else [relax.TensorType((rows, 3 * DIGITS), "int32")]),
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
