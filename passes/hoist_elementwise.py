"""Elementwise functions move before reshapes, transpositions and concatenations, next to the convolutions behind them.

A detection head reads ``sigmoid(transpose(reshape(convolution)))``, or ``sigmoid(concat(...))`` of one such for each
grid. On the convolution's side the function is part of the convolution's epilogue, in registers and on whole vectors;
behind the rearrangement, it is neither.
"""

from __future__ import annotations

import tvm
from tvm import relax

from .rewrite_functions import rewrite_functions

ELEMENTWISE = {"relax.sigmoid", "relax.nn.silu", "relax.nn.relu", "relax.tanh", "relax.exp"}
REARRANGING = {"relax.reshape", "relax.permute_dims", "relax.expand_dims", "relax.squeeze", "relax.flatten"}
CONCAT = "relax.concat"


@tvm.ir.transform.module_pass(opt_level=0, name="HoistElementwise")
class HoistElementwise:
    """``f(rearrange(x))`` becomes ``rearrange(f(x))`` where nothing else reads ``rearrange(x)``; values do not change.

    Runs on Relax operators, before they are legalized.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        return rewrite_functions(mod, _Hoist)


@relax.expr_functor.mutator
class _Hoist(relax.PyExprMutator):
    def __init__(self, function):
        super().__init__()
        self.values = relax.analysis.get_var2val(function)
        self.users = {}
        for block in function.body.blocks:
            for binding in block.bindings:
                self._count(binding.value)
        self._count(function.body.body)

    def _count(self, reader):
        for var in relax.analysis.free_vars(reader):
            self.users[var] = self.users.get(var, 0) + 1

    def visit_call_(self, call):
        if getattr(call.op, "name", None) not in ELEMENTWISE or self._rearranged(call.args[0]) is None:
            return super().visit_call_(call)
        return self._applied(call, call.args[0])

    def _applied(self, function, value):
        """The function of a value, behind whatever rearranges it."""
        source = self._rearranged(value)
        if source is None:
            return relax.Call(function.op, [self.visit_expr(value), *function.args[1:]], function.attrs)
        if source.op.name == CONCAT:
            parts = [self.builder_.emit(self._applied(function, part)) for part in source.args[0].fields]
            return relax.Call(source.op, [relax.Tuple(parts)], source.attrs, source.ty_args)
        moved = self.builder_.emit(self._applied(function, source.args[0]))
        return relax.Call(source.op, [moved, *source.args[1:]], source.attrs, source.ty_args)

    def _rearranged(self, value):
        """The operator that only rearranges elements and whose result is the value, if nothing else reads it."""
        made_by = self.values.get(value)
        if self.users.get(value) != 1 or not isinstance(made_by, relax.Call):
            return None
        name = getattr(made_by.op, "name", None)
        whole_tuple = name == CONCAT and isinstance(made_by.args[0], relax.Tuple)
        return made_by if name in REARRANGING or whole_tuple else None
