"""``tvm.script.tir`` with ``prim_func`` as TVM 0.26 has it: with ``s_tir`` and with names that only annotations use."""

import sys

from tvm.script import tir
from tvm.script.parser._core import parse


def _prim_func(private=False, s_tir=True):
    """Decorator: the function, parsed. ``s_tir`` is what every PrimFunc was before 0.26."""
    names = sys._getframe(1).f_locals

    def decorate(func):
        return parse(func, {**func.__globals__, **names})

    decorate.dispatch_token = "tir"
    return decorate


class _Dialect:
    prim_func = staticmethod(_prim_func)
    alloc_buffer = staticmethod(tir.decl_buffer)  # the older alloc_buffer exists outside loops only

    def __getattr__(self, name):
        return getattr(tir, name)


T = _Dialect()
