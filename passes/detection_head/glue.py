"""What the operators between the last convolutions and an output say about the output."""

from typing import List, Optional, Set, Tuple

from tvm import relax, tirx

CONVOLUTIONS = {"relax.nn.conv2d", "relax.nn.conv2d_transpose", "relax.matmul"}
ARITHMETIC = {
    "relax.exp",
    "relax.power",
    "relax.multiply",
    "relax.divide",
    "relax.subtract",
    "relax.add",
    "relax.square",
}
SELECTION = {"relax.topk", "relax.sort", "relax.argsort", "relax.vision.all_class_non_max_suppression"}
RESHAPES = {"relax.reshape", "relax.flatten", "relax.permute_dims", "relax.expand_dims", "relax.squeeze"}


class Glue:
    """The graph behind a value of ``main``, up to the last convolutions.

    Parameters
    ----------
    main : relax.Function
    output : relax.Expr
        A value of it.
    """

    def __init__(self, main: relax.Function, output: relax.Expr):
        self.main, self.expr = main, output
        self._values = relax.analysis.get_var2val(main)
        self.output = self.resolve(output)
        self.operators = self._operators()

    def resolve(self, expr: relax.Expr) -> relax.Expr:
        """What is bound to a variable, tuples taken apart; the expression itself if it is no bound variable."""
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

    @property
    def axes(self) -> Tuple:
        """The axes: integers where static, text where symbolic; empty if not even their number is known."""
        shape = self.expr.ty.shape
        if not isinstance(shape, relax.ShapeExpr):
            return ()
        return tuple(int(v) if isinstance(v, tirx.IntImm) else str(v) for v in shape.values)

    @property
    def dtype(self) -> str:
        return str(self.expr.ty.dtype)

    @property
    def is_decoded(self) -> bool:
        """Some arithmetic comes after the last convolutions and their biases."""
        return bool(self.operators & ARITHMETIC)

    @property
    def is_selected(self) -> bool:
        """Predictions are picked in the graph: top-k or non-maximum suppression."""
        return bool(self.operators & SELECTION)

    @property
    def has_sigmoid(self) -> bool:
        return "relax.sigmoid" in self.operators

    @property
    def has_exp(self) -> bool:
        return "relax.exp" in self.operators

    def before_transpose(self) -> Optional["Glue"]:
        """The value that the output is the transpose (last two axes) of, if it is one."""
        call = self.output
        if operator(call) == "relax.permute_dims" and [int(a) for a in call.attrs.axes or []] == [0, 2, 1]:
            return Glue(self.main, call.args[0])
        return None

    def boxes_then_classes(self) -> bool:
        """The output is a concatenation along axis 1 of four channels and of one sigmoid: boxes and class scores."""
        if operator(self.output) != "relax.concat" or int(self.output.attrs.axis) not in (1, -2):
            return False
        parts = self._fields(self.output.args[0])
        sizes = [int(part.ty.shape[1]) for part in parts]
        return sum(sizes[:-1]) == 4 and operator(self.resolve(parts[-1])) == "relax.sigmoid"

    def _operators(self) -> Set[str]:
        seen, names, stack = set(), set(), [self.output]
        while stack:
            expr = self.resolve(stack.pop())
            if isinstance(expr, relax.Tuple):
                stack.extend(expr.fields)
            elif isinstance(expr, relax.TupleGetItem):
                stack.append(expr.tuple_value)
            elif isinstance(expr, relax.Call) and expr not in seen:
                seen.add(expr)
                name = operator(expr)
                if name in CONVOLUTIONS or self._is_bias(expr):
                    continue
                names.add(name)
                stack.extend(expr.args)
        return names

    def _is_bias(self, call: relax.Call) -> bool:
        return operator(call) == "relax.add" and operator(self.resolve(call.args[0])) in CONVOLUTIONS

    def _fields(self, expr: relax.Expr) -> List[relax.Expr]:
        whole = self.resolve(expr)
        return list(whole.fields) if isinstance(whole, relax.Tuple) else []


def operator(expr: relax.Expr) -> str:
    """Name of the operator that an expression calls; empty if it calls none."""
    if isinstance(expr, relax.Call) and hasattr(expr.op, "name"):
        return expr.op.name
    return ""
