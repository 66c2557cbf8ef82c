"""The graph behind an output, read from Relax."""

from tvm import relax

from ..tensor_types import tensor_of
from . import glue

NAMES = {"permute_dims": "transpose", "concat": "concatenate"}  # where Relax's are not Relay's


class Glue(glue.Glue):
    """See `glue.Glue`.

    Parameters
    ----------
    main : relax.Function
    output : relax.Expr
        A value of it.
    """

    def __init__(self, main: relax.Function, output: relax.Expr):
        self.main, self._values = main, relax.analysis.get_var2val(main)
        super().__init__(output)

    def of(self, expr):
        return Glue(self.main, expr)

    def resolve(self, expr):
        while True:
            if isinstance(expr, relax.Var) and expr in self._values:
                expr = self._values[expr]
            elif isinstance(expr, relax.TupleGetItem):
                whole = self.resolve(expr.tuple_value)
                if not isinstance(whole, relax.Tuple):
                    return expr
                expr = whole.fields[expr.index]
            else:
                return expr

    @staticmethod
    def operator(expr):
        if not isinstance(expr, relax.Call) or not hasattr(expr.op, "name"):
            return ""
        name = expr.op.name.replace("relax.", "")
        return NAMES.get(name, name)

    @staticmethod
    def fields(expr):
        return list(expr.fields) if isinstance(expr, relax.Tuple) else []

    @staticmethod
    def sources(expr):
        if isinstance(expr, relax.Call):
            return list(expr.args)
        return [expr.tuple_value] if isinstance(expr, relax.TupleGetItem) else Glue.fields(expr)

    @staticmethod
    def tensor(expr):
        return tensor_of("", expr.ty)
