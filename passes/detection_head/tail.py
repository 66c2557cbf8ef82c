"""Appends bindings to ``main`` and changes what it returns."""

from typing import List

import tvm
from tvm import relax


class Tail:
    """New bindings after the ones of ``main``, in its last dataflow block.

    Parameters
    ----------
    main : relax.Function
    builder : relax.BlockBuilder
        Normalizes the new values and knows the kernels that they call.
    """

    def __init__(self, main: relax.Function, builder: relax.BlockBuilder):
        self._main = main
        self._builder = builder
        self._bindings: List[relax.Binding] = []

    def emit(self, value: relax.Expr, name: str) -> relax.Var:
        """Bind a value to a new variable."""
        value = self._builder.normalize(value)
        var = relax.DataflowVar(name, value.ty)
        self._bindings.append(relax.VarBinding(var, value))
        return var

    def call_tir(self, kernel: tvm.ir.GlobalVar, args: List, outputs: List[relax.TensorType]) -> List[relax.Var]:
        """Call a kernel with several outputs; a variable for each."""
        whole = self.emit(relax.call_tir(kernel, relax.Tuple(args), outputs), kernel.name_hint)
        return [self.emit(relax.TupleGetItem(whole, i), f"{kernel.name_hint}_{i}") for i in range(len(outputs))]

    def returning(self, values: List[relax.Expr]) -> relax.Function:
        """``main`` with the new bindings, returning the tuple of these values."""
        result = self._builder.normalize(relax.Tuple(values))
        var = relax.Var("detections", result.ty)
        blocks = list(self._main.body.blocks)
        before = list(blocks.pop().bindings) if blocks and isinstance(blocks[-1], relax.DataflowBlock) else []
        blocks.append(relax.DataflowBlock([*before, *self._bindings, relax.VarBinding(var, result)]))
        body = relax.SeqExpr(blocks, var)
        return relax.Function(self._main.params, body, result.ty, self._main.is_pure, self._main.attrs)
