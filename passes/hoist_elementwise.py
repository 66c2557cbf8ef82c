"""Elementwise functions move before reshapes and transpositions, next to the convolution that feeds both.

A detection head reads ``sigmoid(transpose(reshape(convolution)))``. On the convolution's side of the transposition the
function is part of the convolution's epilogue, in registers and on whole vectors; behind it, it is neither.
"""

from __future__ import annotations

import tvm
from tvm import relax

ELEMENTWISE = {"relax.sigmoid", "relax.nn.silu", "relax.nn.relu", "relax.tanh", "relax.exp"}
REARRANGING = {"relax.reshape", "relax.permute_dims", "relax.expand_dims", "relax.squeeze", "relax.flatten"}


@tvm.ir.transform.module_pass(opt_level=0, name="HoistElementwise")
class HoistElementwise:
    """``f(rearrange(x))`` becomes ``rearrange(f(x))`` where nothing else reads ``rearrange(x)``; values do not change.

    Runs on Relax operators, before they are legalized.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        for global_var, function in mod.functions_items():
            if isinstance(function, relax.Function) and "Primitive" not in (function.attrs or {}):
                mod.update_func(global_var, relax.analysis.remove_all_unused(_Hoist(function).visit_expr(function)))
        return mod


@relax.expr_functor.mutator
class _Hoist(relax.PyExprMutator):
    def __init__(self, function):
        super().__init__()
        self.values = relax.analysis.get_var2val(function)
        self.users = {}
        for block in function.body.blocks:
            for binding in block.bindings:
                for var in relax.analysis.free_vars(binding.value):
                    self.users[var] = self.users.get(var, 0) + 1

    def visit_call_(self, call):
        if getattr(call.op, "name", None) not in ELEMENTWISE:
            return super().visit_call_(call)
        chain = []  # the rearrangements behind the argument, last first
        source = call.args[0]
        while self.users.get(source) == 1 and _is_rearranging(self.values.get(source)):
            chain.append(self.values[source])
            source = chain[-1].args[0]
        if not chain:
            return super().visit_call_(call)
        value = self.builder_.emit(relax.Call(call.op, [self.visit_expr(source), *call.args[1:]], call.attrs))
        for step in reversed(chain[1:]):
            value = self.builder_.emit(relax.Call(step.op, [value, *step.args[1:]], step.attrs, step.ty_args))
        return relax.Call(chain[0].op, [value, *chain[0].args[1:]], chain[0].attrs, chain[0].ty_args)


def _is_rearranging(value) -> bool:
    return isinstance(value, relax.Call) and getattr(value.op, "name", None) in REARRANGING
