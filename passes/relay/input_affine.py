"""What happens to an image on its way to a convolution, as one affine map a channel; ``input_affine`` for Relay."""

from dataclasses import replace
from typing import Optional

import numpy as np
from tvm import relay, tir

from ..channel_affine import Channels, per_channel
from .glue import operator

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
        return found and replace(found, visited=found.visited | {expr})

    def _arithmetic(self, name, call, axis):
        left, right = call.args
        if isinstance(right, relay.Constant):
            image, constant = left, right
        elif isinstance(left, relay.Constant) and name != "divide":
            image, constant = right, left
        else:
            return None
        found = self.trace(image, axis)
        if found is None or _shape(call) != _shape(image):
            return None
        value = per_channel(constant.data.numpy(), len(_shape(call)), axis, len(found.origins))
        if value is None or not np.all(np.isfinite(value)):
            return None
        if name == "multiply" and np.all(value != 0):
            return replace(found, scale=found.scale * value, shift=found.shift * value)
        if name == "divide" and np.all(value != 0):
            return replace(found, scale=found.scale / value, shift=found.shift / value)
        if name == "add" or (name == "subtract" and image is left):
            return replace(found, shift=found.shift + (value if name == "add" else -value))
        if name == "subtract":
            return replace(found, scale=-found.scale, shift=value - found.shift)
        return None

    def _choose(self, image, axis, order):
        found = self.trace(image, axis)
        if found is None:
            return None
        origins = tuple(found.origins[k] for k in order)
        return replace(found, origins=origins, scale=found.scale[order], shift=found.shift[order])

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
        return found and replace(found, visited=found.visited | {call})

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
        if axis in (a for a, _ in cuts):
            return None
        where = tuple((a, cut.start, cut.stop, cut.step) for a, cut in cuts)
        return self._in_space(image, axis, ("slice", *zip(*where)) if where else ("slice", (), (), (), ()))

    def _transpose(self, call, axis):
        axes = tuple(int(a) for a in call.attrs.axes or reversed(range(len(_shape(call)))))
        return self._in_space(call.args[0], axes[axis], ("transpose", axes))

    def _nn_pad(self, call, axis):
        image, value = call.args
        widths = tuple(tuple(int(w) for w in pair) for pair in call.attrs.pad_width)
        zeros = isinstance(value, relay.Constant) and float(value.data.numpy()) == 0
        if call.attrs.pad_mode != "constant" or not zeros or any(widths[axis]):
            return None
        found = self._in_space(image, axis, ("pad", widths))
        return found and replace(found, padded=True)

    def _in_space(self, image, axis, step):
        found = self.trace(image, axis)
        return found and replace(found, origins=tuple(((*path, step), channel) for path, channel in found.origins))

    def _concatenate(self, call, axis):
        if not isinstance(call.args[0], relay.Tuple) or int(call.attrs.axis) % len(_shape(call)) != axis:
            return None
        parts = [self.trace(part, axis) for part in call.args[0].fields]
        if any(part is None or not part.source.same_as(parts[0].source) for part in parts):
            return None
        return Channels(
            parts[0].source,
            parts[0].count,
            sum((part.origins for part in parts), ()),
            np.concatenate([part.scale for part in parts]),
            np.concatenate([part.shift for part in parts]),
            any(part.padded for part in parts),
            frozenset({call.args[0]}).union(*(part.visited for part in parts)),
        )


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
    return [int(side) if isinstance(side, tir.IntImm) else None for side in expr.checked_type.shape]
