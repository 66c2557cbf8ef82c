"""One mutator over every Relax function of a module."""

from __future__ import annotations

from typing import Callable

import tvm
from tvm import relax


def rewrite_functions(mod: tvm.IRModule, mutator: Callable[[relax.Function], relax.PyExprMutator]) -> tvm.IRModule:
    """``mod`` with each Relax function, those of fused kernels (attribute ``Primitive``) excepted, as ``mutator`` of it
    leaves it, without the bindings that nobody reads any more."""
    for global_var, function in mod.functions_items():
        if isinstance(function, relax.Function) and "Primitive" not in (function.attrs or {}):
            mod.update_func(global_var, relax.analysis.remove_all_unused(mutator(function).visit_expr(function)))
    return mod
