"""What happens to an image between where it enters ``main`` and a convolution, as one affine map a channel.

Followed through: adding, subtracting, multiplying and dividing by constants of one value a channel; choosing and
reordering channels (flip, take, split, slice); slicing, padding with zeros and transposing in space; concatenation of
such (YOLOX's Focus).
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from .channel_affine import Channels, concatenated

ARITHMETIC = ("relax.add", "relax.subtract", "relax.multiply", "relax.divide")


class ImageTracer:
    """Follows a variable of ``main`` back to its image.

    Parameters
    ----------
    bindings : dict
        Variable to value, of all of main.
    sources : dict
        Variable of an image to a function of the channel axis that gives its `Channels` (None: not an image).
    """

    def __init__(self, bindings, sources):
        self.bindings, self.sources = bindings, sources

    def trace(self, var, axis: int) -> Channels | None:
        """The image that ``var`` is made of, its channels on ``axis``; None if it is made of anything else."""
        if var in self.sources:
            return self.sources[var](axis)
        value = self.bindings.get(var)
        if isinstance(value, relax.Var):
            found = self.trace(value, axis)
        elif isinstance(value, relax.TupleGetItem):
            found = self._split(value, axis)
        elif isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op):
            step = getattr(self, "_" + value.op.name.replace("relax.", "").replace(".", "_"), None)
            found = self._arithmetic(value, axis) if value.op.name in ARITHMETIC else step and step(value, axis)
        else:
            found = None
        return found and found.through(var)

    def _arithmetic(self, call, axis):
        first = is_constant(call.args[1])
        image, constant = call.args if first else reversed(call.args)
        found = self.trace(image, axis) if is_constant(constant) else None
        if found is None or list(call.ty.shape) != list(image.ty.shape):
            return None
        kind = call.op.name.replace("relax.", "")
        return found.computed(kind, constant.value.numpy(), call.ty.ndim, axis, first)

    def _choose(self, image, axis, order):
        found = self.trace(image, axis)
        return found and found.chosen(order)

    def _flip(self, call, axis):
        count = int(call.ty.shape[axis])
        return self._choose(call.args[0], axis, np.arange(count)[::-1]) if call.attrs.axis == axis else None

    def _take(self, call, axis):
        if call.attrs.axis is None or int(call.attrs.axis) % call.ty.ndim != axis or not is_constant(call.args[1]):
            return None
        order = call.args[1].value.numpy()
        return self._choose(call.args[0], axis, order) if order.ndim == 1 else None

    def _split(self, item, axis):
        call = self.bindings.get(item.tuple_value)
        if not isinstance(call, relax.Call) or call.op.name != "relax.split" or int(call.attrs.axis) != axis:
            return None
        count, parts = int(call.args[0].ty.shape[axis]), call.attrs.indices_or_sections
        bounds = int(parts) if isinstance(parts, (int, tvm.tirx.IntImm)) else [int(p) for p in parts]
        found = self._choose(call.args[0], axis, np.array_split(np.arange(count), bounds)[item.index])
        return found and found.through(item.tuple_value)

    def _strided_slice(self, call, axis):
        image, axes, *rest = call.args
        axes = tuple(int(a) % call.ty.ndim for a in axes)
        begin, end, *strides = (tuple(int(v) for v in part) for part in rest)
        strides = strides[0] if strides else (1,) * len(axes)
        if axes == (axis,):
            channels = np.arange(int(image.ty.shape[axis]))
            return self._choose(image, axis, channels[slice(begin[0], end[0], strides[0])])
        found = None if axis in axes else self.trace(image, axis)
        return found and found.moved(("slice", axes, begin, end, strides))

    def _permute_dims(self, call, axis):
        axes = tuple(int(a) for a in call.attrs.axes or reversed(range(call.ty.ndim)))
        found = self.trace(call.args[0], axes[axis])
        return found and found.moved(("permute", axes))

    def _nn_pad(self, call, axis):
        widths = tuple(int(w) for w in call.attrs.pad_width)
        if (
            call.attrs.pad_mode != "constant"
            or float(call.attrs.pad_value) != 0
            or any(widths[2 * axis : 2 * axis + 2])
        ):
            return None
        found = self.trace(call.args[0], axis)
        return found and found.moved(("pad", widths), padded=True)

    def _concat(self, call, axis):
        if not isinstance(call.args[0], relax.Tuple) or int(call.attrs.axis) % call.ty.ndim != axis:
            return None
        return concatenated([self.trace(part, axis) for part in call.args[0].fields])


def replay(emit, source, ways, axis: int):
    """The source taken along each of ``ways``, concatenated on ``axis``; ``emit`` makes a variable of a call."""
    ends = []
    for way in ways:
        end = source
        for kind, *parameters in way:
            if kind == "slice":
                end = emit(relax.op.strided_slice(end, *(list(p) for p in parameters)))
            elif kind == "permute":
                end = emit(relax.op.permute_dims(end, list(parameters[0])))
            else:
                end = emit(relax.op.nn.pad(end, list(parameters[0])))
        ends.append(end)
    return ends[0] if len(ends) == 1 else emit(relax.op.concat(ends, axis=axis))


def is_constant(expr) -> bool:
    return isinstance(expr, tvm.ir.GenericConst) and isinstance(expr.value, tvm.runtime.Tensor)
