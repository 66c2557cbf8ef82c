"""``tvm.script.ir_builder.tir`` under the names of TVM 0.26's ``tirx``, as far as the kernel uses them."""

from functools import partial

from tvm.script.ir_builder import tir


class _Dialect:
    sblock = staticmethod(tir.block)
    sblock_alloc_buffer = staticmethod(tir.alloc_buffer)

    def __getattr__(self, name):
        return getattr(tir, name)

    @staticmethod
    def prim_func(s_tir=True):
        return tir.prim_func()

    @staticmethod
    def bind(value):
        """A new variable of that value, until the enclosing frame ends."""
        let = tir.LetStmt(value)
        let.add_callback(partial(let.__exit__, None, None, None))
        return let.__enter__()

    @staticmethod
    def Assert(condition, message, error_kind="RuntimeError"):
        return tir.Assert(condition, message)


T = _Dialect()
