"""The graph behind an output, read from Relay."""

from tvm import relay

from ..detection_head import glue
from .tensor_types import tensor_of


class Glue(glue.Glue):
    """See `glue.Glue`; ``expr`` has its type inferred."""

    def of(self, expr):
        return Glue(expr)

    def resolve(self, expr):
        while isinstance(expr, relay.TupleGetItem) and isinstance(expr.tuple_value, relay.Tuple):
            expr = expr.tuple_value.fields[expr.index]
        return expr

    @staticmethod
    def operator(expr):
        return operator(expr)

    @staticmethod
    def fields(expr):
        return list(expr.fields) if isinstance(expr, relay.Tuple) else []

    @staticmethod
    def sources(expr):
        return children(expr)

    @staticmethod
    def tensor(expr):
        return tensor_of("", expr.checked_type)


def operator(expr: relay.Expr) -> str:
    """Name of the operator that an expression calls; empty if it calls none."""
    if isinstance(expr, relay.Call) and hasattr(expr.op, "name"):
        return expr.op.name
    return ""


def children(expr: relay.Expr) -> list:
    """What a call, a tuple or a tuple's field is made of."""
    if isinstance(expr, relay.Call):
        return list(expr.args)
    if isinstance(expr, relay.Tuple):
        return list(expr.fields)
    return [expr.tuple_value] if isinstance(expr, relay.TupleGetItem) else []
