"""What happens to an image on its way to a convolution, as one affine map a channel; ``input_affine`` for Relay."""

from typing import Optional

import numpy as np
from tvm import relay, tir

from ..channel_affine import Channels, concatenated
from .glue import operator
from .tensor_types import tensor_of

ARITHMETIC = ("add", "subtract", "multiply", "divide")


class ImageTracer:
    """Follows an expression back to its image.

    Parameters
    ----------
    sources : dict
        Expression of an image to a function of the channel axis that gives its `Channels` (None: not an image).
    """

    def __init__(self, sources):
        self.sources = sources

    def trace(self, expr: relay.Expr, axis: int) -> Optional[Channels]:
        """The image that ``expr`` is made of, its channels on ``axis``; None if it is made of anything else."""
        if expr in self.sources:
            return self.sources[expr](axis)
        name = operator(expr)
        if isinstance(expr, relay.TupleGetItem):
            found = self._split(expr, axis)
        elif name in ARITHMETIC:
            found = self._arithmetic(name, expr, axis)
        else:
            step = getattr(self, "_" + name.replace(".", "_"), None) if name else None
            found = step and step(expr, axis)
        return found and found.through(expr)

    def _arithmetic(self, name, call, axis):
        first = isinstance(call.args[1], relay.Constant)
        image, constant = call.args if first else reversed(call.args)
        found = self.trace(image, axis) if isinstance(constant, relay.Constant) else None
        if found is None or _shape(call) != _shape(image):
            return None
        return found.computed(name, constant.data.numpy(), len(_shape(call)), axis, first)

    def _choose(self, image, axis, order):
        found = self.trace(image, axis)
        return found and found.chosen(order)

    def _reverse(self, call, axis):
        shape = _shape(call)
        order = np.arange(shape[axis])[::-1]
        return self._choose(call.args[0], axis, order) if int(call.attrs.axis) % len(shape) == axis else None

    def _take(self, call, axis):
        image, indices = call.args
        rank = len(_shape(call))
        if call.attrs.axis is None or int(call.attrs.axis) % rank != axis or not isinstance(indices, relay.Constant):
            return None
        order = indices.data.numpy()
        return self._choose(image, axis, order) if order.ndim == 1 else None

    def _split(self, item, axis):
        call = item.tuple_value
        if operator(call) != "split" or int(call.attrs.axis) != axis:
            return None
        parts = call.attrs.indices_or_sections
        bounds = int(parts) if isinstance(parts, (int, tir.IntImm)) else [int(p) for p in parts]
        channels = np.arange(_shape(call.args[0])[axis])
        found = self._choose(call.args[0], axis, np.array_split(channels, bounds)[item.index])
        return found and found.through(call)

    def _strided_slice(self, call, axis):
        if call.attrs.slice_mode != "end" or len(call.args) != 1:
            return None
        image, begin, end = call.args[0], *(tuple(int(v) for v in part) for part in (call.attrs.begin, call.attrs.end))
        shape = _shape(image)
        axes = tuple(int(a) % len(shape) for a in call.attrs.axes) if call.attrs.axes else tuple(range(len(begin)))
        strides = tuple(int(v) for v in call.attrs.strides)
        strides = (strides or (1,)) * (len(axes) // (len(strides) or 1))
        # only the axes that are cut: importers name all of them
        cuts = [
            (a, slice(b, e, s))
            for a, b, e, s in zip(axes, begin, end, strides)
            if range(shape[a])[slice(b, e, s)] != range(shape[a])
        ]
        if [a for a, _ in cuts] == [axis]:
            return self._choose(image, axis, np.arange(shape[axis])[cuts[0][1]])
        found = None if axis in (a for a, _ in cuts) else self.trace(image, axis)
        where = tuple((a, cut.start, cut.stop, cut.step) for a, cut in cuts)
        return found and found.moved(("slice", *zip(*where)) if where else ("slice", (), (), (), ()))

    def _transpose(self, call, axis):
        axes = tuple(int(a) for a in call.attrs.axes or reversed(range(len(_shape(call)))))
        found = self.trace(call.args[0], axes[axis])
        return found and found.moved(("transpose", axes))

    def _nn_pad(self, call, axis):
        image, value = call.args
        widths = tuple(tuple(int(w) for w in pair) for pair in call.attrs.pad_width)
        zeros = isinstance(value, relay.Constant) and float(value.data.numpy()) == 0
        if call.attrs.pad_mode != "constant" or not zeros or any(widths[axis]):
            return None
        found = self.trace(image, axis)
        return found and found.moved(("pad", widths), padded=True)

    def _concatenate(self, call, axis):
        if not isinstance(call.args[0], relay.Tuple) or int(call.attrs.axis) % len(_shape(call)) != axis:
            return None
        found = concatenated([self.trace(part, axis) for part in call.args[0].fields])
        return found and found.through(call.args[0])


def replay(source: relay.Expr, ways: list, axis: int) -> relay.Expr:
    """The source taken along each of ``ways``, concatenated on ``axis``."""
    ends = []
    for way in ways:
        end = source
        for kind, *parameters in way:
            if kind == "slice":
                axes, begin, stop, strides = (list(p) for p in parameters)
                end = relay.strided_slice(end, begin, stop, strides, axes=axes) if axes else end
            elif kind == "transpose":
                end = relay.transpose(end, list(parameters[0]))
            else:
                end = relay.nn.pad(end, parameters[0])
        ends.append(end)
    return ends[0] if len(ends) == 1 else relay.concatenate(ends, axis=axis)


def _shape(expr):
    return tensor_of("", expr.checked_type).sides
