"""What the operators between the last convolutions and an output say about the output."""

from typing import List, Optional, Set, Tuple

from tvm import relay, tir

CONVOLUTIONS = {
    "nn.conv2d",
    "nn.conv2d_transpose",
    "nn.contrib_conv2d_NCHWc",
    "nn.dense",
    "nn.matmul",
    "nn.batch_matmul",
}
BIASES = {"add", "nn.bias_add"}
ARITHMETIC = {"exp", "power", "multiply", "divide", "subtract", "add", "square"}
SELECTION = {"topk", "sort", "argsort", "vision.non_max_suppression", "vision.all_class_non_max_suppression"}


class Glue:
    """The graph behind a value of ``main``, up to the last convolutions; ``detection_head.glue.Glue`` for Relay.

    Parameters
    ----------
    output : relay.Expr
        With its type inferred.
    """

    def __init__(self, output: relay.Expr):
        self.expr, self.type = output, output.checked_type
        self.output = _resolve(output)
        self.operators = self._operators()

    @property
    def axes(self) -> Tuple:
        """The axes: integers where static, text where not."""
        return tuple(int(v) if isinstance(v, tir.IntImm) else str(v) for v in self.type.shape)

    @property
    def dtype(self) -> str:
        return self.type.dtype

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
        return "sigmoid" in self.operators

    @property
    def has_exp(self) -> bool:
        return "exp" in self.operators

    def before_transpose(self) -> Optional["Glue"]:
        """The value that the output is the transpose (last two axes) of, if it is one."""
        call = self.output
        if operator(call) == "transpose" and [int(a) for a in call.attrs.axes or []] == [0, 2, 1]:
            return Glue(call.args[0])
        return None

    def boxes_then_classes(self) -> bool:
        """The output is a concatenation along axis 1 of four channels and of one sigmoid: boxes and class scores."""
        if operator(self.output) != "concatenate" or int(self.output.attrs.axis) not in (1, -2):
            return False
        parts = _resolve(self.output.args[0])
        if not isinstance(parts, relay.Tuple):
            return False
        sizes = [int(part.checked_type.shape[1]) for part in parts.fields]
        return sum(sizes[:-1]) == 4 and operator(_resolve(parts.fields[-1])) == "sigmoid"

    def _operators(self) -> Set[str]:
        seen, names = set(), set()
        stack: List[relay.Expr] = [self.output]
        while stack:
            expr = _resolve(stack.pop())
            if expr in seen:
                continue
            seen.add(expr)
            if isinstance(expr, relay.Tuple):
                stack.extend(expr.fields)
            elif isinstance(expr, relay.TupleGetItem):
                stack.append(expr.tuple_value)
            elif isinstance(expr, relay.Call):
                if operator(expr) in CONVOLUTIONS or _is_bias(expr):
                    continue
                names.add(operator(expr))
                stack.extend(expr.args)
        return names


def _resolve(expr: relay.Expr) -> relay.Expr:
    """The field that is taken out of a tuple made in the graph; the expression itself otherwise."""
    while isinstance(expr, relay.TupleGetItem) and isinstance(expr.tuple_value, relay.Tuple):
        expr = expr.tuple_value.fields[expr.index]
    return expr


def _is_bias(call: relay.Call) -> bool:
    return operator(call) in BIASES and operator(_resolve(call.args[0])) in CONVOLUTIONS


def operator(expr: relay.Expr) -> str:
    """Name of the operator that an expression calls; empty if it calls none."""
    if isinstance(expr, relay.Call) and hasattr(expr.op, "name"):
        return expr.op.name
    return ""
