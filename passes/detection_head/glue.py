"""What the operators between the last convolutions and an output say about the output."""

from typing import Any, List, Optional, Set, Tuple

from ..model_image import Tensor

# Operators by Relay's names.
CONVOLUTIONS = {
    "nn.conv2d",
    "nn.conv2d_transpose",
    "nn.contrib_conv2d_NCHWc",
    "nn.dense",
    "nn.matmul",
    "nn.batch_matmul",
    "matmul",
}
BIASES = {"add", "nn.bias_add"}
ARITHMETIC = {"exp", "power", "multiply", "divide", "subtract", "add", "square"}
SELECTION = {"topk", "sort", "argsort", "vision.non_max_suppression", "vision.all_class_non_max_suppression"}


class Glue:
    """The graph behind a value of ``main``, up to the last convolutions. A subclass for each IR reads its expressions.

    Attributes
    ----------
    expr : Expr
    output : Expr
        What makes it.
    operators : set of str
        All that is called after the last convolutions and their biases.
    """

    def __init__(self, expr):
        self.expr = expr
        self.output = self.resolve(expr)
        self.operators = self._operators()

    # --- of an IR ---------------------------------------------------------------------------------------------------

    def of(self, expr) -> "Glue":
        """The graph behind another value of the same ``main``."""
        raise NotImplementedError

    def resolve(self, expr):
        """What makes a value, variables and tuples that the graph makes taken apart; itself if nothing known does."""
        raise NotImplementedError

    @staticmethod
    def operator(expr) -> str:
        """Relay's name of the operator that an expression calls; empty if it calls none."""
        raise NotImplementedError

    @staticmethod
    def fields(expr) -> List[Any]:
        """What a tuple has; empty if it is none."""
        raise NotImplementedError

    @staticmethod
    def sources(expr) -> List[Any]:
        """What an expression is made of."""
        raise NotImplementedError

    @staticmethod
    def tensor(expr) -> Tensor:
        """Its type."""
        raise NotImplementedError

    # --- of all -----------------------------------------------------------------------------------------------------

    @property
    def axes(self) -> Tuple:
        """The axes: integers where static, text where not; empty if not even their number is known."""
        return self.tensor(self.expr).sides

    @property
    def dtype(self) -> str:
        return self.tensor(self.expr).dtype

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
        if self.operator(call) == "transpose" and [int(a) for a in call.attrs.axes or []] == [0, 2, 1]:
            return self.of(call.args[0])
        return None

    def boxes_then_classes(self) -> bool:
        """The output is a concatenation along axis 1 of four channels and of one sigmoid: boxes and class scores."""
        if self.operator(self.output) != "concatenate" or int(self.output.attrs.axis) not in (1, -2):
            return False
        parts = self.fields(self.resolve(self.output.args[0]))
        channels = sum(self.tensor(part).sides[1] for part in parts[:-1])
        return channels == 4 and self.operator(self.resolve(parts[-1])) == "sigmoid"

    def _operators(self) -> Set[str]:
        seen, names, stack = set(), set(), [self.output]
        while stack:
            expr = self.resolve(stack.pop())
            sources = self.sources(expr)
            if not sources or expr in seen:
                continue
            seen.add(expr)
            name = self.operator(expr)
            if name in CONVOLUTIONS or (name in BIASES and self.operator(self.resolve(sources[0])) in CONVOLUTIONS):
                continue
            names.add(name)
            stack.extend(sources)
        return names
