"""The sides of a box, expectations over a distribution's bins, are summed where the bins lie.

YOLOv8's heads and their successors predict each side of a box as a distribution over bins (distribution focal loss:
X. Li et al., "Generalized Focal Loss", NeurIPS 2020), and are exported with its expectation as a 1x1 convolution: the
bins are transposed to be channels, and the one output channel's weights are the bins' values. A convolution of one
channel wastes all others of a block, and its operand is rearranged twice for it.
"""

from __future__ import annotations

import tvm
from tvm import relax

from .rewrite_functions import rewrite_functions


@tvm.ir.transform.module_pass(opt_level=0, name="DecodeBoxDistribution")
class DecodeBoxDistribution:
    """``conv2d(softmax(transpose(x), channels))`` of x (N, sides, bins, boxes) with one output channel becomes a
    weighted sum of ``softmax(x, bins)``; values change by rounding only.

    Runs on Relax operators, before they are legalized. What does not look like that stays as it is.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        return rewrite_functions(mod, _Decode)


@relax.expr_functor.mutator
class _Decode(relax.PyExprMutator):
    def __init__(self, function):
        super().__init__()
        self.values = relax.analysis.get_var2val(function)

    def visit_call_(self, call):
        bins = self._bins(call)
        if bins is None:
            return super().visit_call_(call)
        n, sides, count, boxes = (int(extent) for extent in bins.ty.shape)
        values = relax.const(call.args[1].value.numpy().reshape(1, 1, count, 1))
        shares = self.builder_.emit(relax.op.nn.softmax(self.visit_expr(bins), axis=2))
        weighted = self.builder_.emit(relax.op.multiply(shares, values))
        sides_first = self.builder_.emit(relax.op.sum(weighted, axis=2))
        return relax.op.reshape(sides_first, (n, 1, sides, boxes))

    def _bins(self, call):
        """x, if the call is such a convolution; else None."""
        softmax = self._operand(call, "relax.nn.conv2d", "relax.nn.softmax")
        transpose = self._operand(softmax, "relax.nn.softmax", "relax.permute_dims")
        if transpose is None or not isinstance(call.args[1], tvm.ir.GenericConst):
            return None
        window, axes = call.attrs, transpose.attrs.axes
        fits = (
            (window.data_layout, window.kernel_layout) == ("NCHW", "OIHW")
            and tuple(call.args[1].value.shape) == (1, int(transpose.ty.shape[1]), 1, 1)
            and not any(int(padding) for padding in window.padding)
            and all(int(stride) == 1 for stride in window.strides)
            and int(softmax.attrs.axis) in (1, -3)
            and axes is not None
            and [int(axis) for axis in axes] == [0, 2, 1, 3]
        )
        return transpose.args[0] if fits else None

    def _operand(self, call, name, of_operand):
        """The call that the first operand of ``call`` is, if they are of these operators; else None."""
        if call is None or getattr(call.op, "name", None) != name:
            return None
        operand = self.values.get(call.args[0])
        named = isinstance(operand, relax.Call) and getattr(operand.op, "name", None) == of_operand
        return operand if named else None
