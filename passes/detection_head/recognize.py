"""Which detection head a model ends in, from its outputs' shapes and the graph behind them."""

from dataclasses import dataclass
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

from tvm_zerocopy.errors import ModelError, SpecError
from tvm_zerocopy.specs import HEADS, Nms

from .glue import Glue
from .grid import Level, find_levels

LAYOUTS = {
    "yolov5": "yolov5 (batch, boxes, 5 + classes)",
    "yolov8": "yolov8 (batch, 4 + classes, boxes)",
    "yolox": "yolox raw grid (batch, boxes, 5 + classes)",
    "end2end": "end2end (batch, boxes, 6)",
}


@dataclass(frozen=True)
class Head:
    """A recognized head.

    Attributes
    ----------
    name : str
        One of ``specs.HEADS``.
    output : Glue
        The value in ``main`` to read.
    transpose : bool
        The value has its last two axes the other way round than ``specs.Nms`` describes the head.
    batch, rows, classes : int
        Frames, predictions a frame and classes (0: not known from the shape, end2end).
    levels : list of Level or None
        Grids, for yolox.
    """

    name: str
    output: Glue
    transpose: bool
    batch: int
    rows: int
    classes: int
    levels: Optional[List[Level]] = None

    def read(self) -> Tuple[Any, bool, bool]:
        """(expression to read, whether it is ``(batch, values, boxes)``, whether to transpose it into that first).

        ``main``'s last transpose is left out where the filter reads columns as well.
        """
        in_columns = (self.name == "yolov8") != self.transpose
        before = self.output.before_transpose()
        if before is not None and not in_columns and self.name != "end2end":
            return before.expr, True, False
        transpose = self.name == "yolov8" and not in_columns
        return self.output.expr, in_columns or transpose, transpose


def require_nms(nms) -> Nms:
    """What FuseDetectionHead is made of; raises SpecError if it is anything else."""
    if not isinstance(nms, Nms):
        raise SpecError(f"FuseDetectionHead takes an Nms, not {type(nms).__name__}; leave the pass out for raw outputs")
    return nms


def find_head(outputs: Sequence[Glue], input_size: Optional[Tuple[int, int]], name: Optional[str]) -> Head:
    """The head among ``main``'s outputs.

    Parameters
    ----------
    outputs : sequence of Glue
        What ``main`` returns, tuples taken apart.
    input_size : (height, width) or None
        Of the network's input in pixels, if known.
    name : str or None
        The head as the user named it; None: recognize it.

    Raises
    ------
    ModelError
        If no output, or more than one, is a head that is recognized without doubt; or the model is of another task.
    SpecError
        If the named head does not fit any output.
    """
    _refuse_segmentation(outputs, input_size)
    read = _recognize if name is None else _READERS[name]
    found = [head for head in (read(output, input_size) for output in outputs) if head is not None]
    if len(found) > 1 and name is not None:  # a named head by shape alone may fit too much; the grid decides
        found = [head for head in found if _fits_grid(head, input_size)] or found
    if len(found) == 1:
        return found[0]
    seen = ", ".join(map(_written, outputs))
    size = f" for a {input_size[1]}x{input_size[0]} input" if input_size else ""
    if name is not None:
        problem = "no output has that layout" if not found else f"{len(found)} outputs have that layout"
        raise SpecError(
            f"nms head {name!r} does not fit the model: {problem}; expected {LAYOUTS[name]}, outputs are {seen}{size}"
        )
    problem = "no output is recognized as" if not found else "more than one output looks like"
    raise ModelError(
        f"{problem} a detection head (outputs {seen}{size}); if it is one of these, name it with "
        f"Nms(head=...) or --head: {', '.join(LAYOUTS[head] for head in HEADS)}; for the raw outputs compile with "
        "postprocess=None or --raw"
    )


def _recognize(output, input_size: Optional[Tuple[int, int]]) -> Optional[Head]:
    """The head that one output is beyond doubt, or None."""
    shape = _shape(output)
    if shape is None:
        return None
    _, first, second = shape
    anchors = {(n, axis): find_levels(rows, input_size, n) for n in (1, 3) for axis, rows in ((1, first), (2, second))}
    if output.is_selected:
        return _end2end(output, input_size)
    if anchors[1, 2] and first >= 5 and output.boxes_then_classes():
        return _columns(output, shape, transpose=False)
    inner = output.before_transpose()
    if anchors[1, 1] and second >= 5 and inner is not None and inner.boxes_then_classes():
        return _columns(output, shape, transpose=True)
    if second >= 6 and anchors[3, 1] and output.is_decoded:
        return _rows("yolov5", output, shape)
    if first >= 6 and anchors[3, 2] and output.is_decoded:
        return _rows("yolov5", output, shape, transpose=True)
    if second >= 6 and anchors[1, 1] and output.has_sigmoid:
        if not output.is_decoded:
            return _rows("yolox", output, shape, levels=anchors[1, 1])
        if output.has_exp:  # exported with its decode: the rows are a decoded yolov5's
            return _rows("yolov5", output, shape)
    return None


def _yolov5(output, input_size) -> Optional[Head]:
    shape = _shape(output)
    if shape is None:
        return None
    transpose = _grid_is_on(2, shape, input_size) and not _grid_is_on(1, shape, input_size)
    return _rows("yolov5", output, shape, transpose) if shape[1 if transpose else 2] >= 6 else None


def _yolov8(output, input_size) -> Optional[Head]:
    shape = _shape(output)
    if shape is None:
        return None
    transpose = _grid_is_on(1, shape, input_size) and not _grid_is_on(2, shape, input_size)
    return _columns(output, shape, transpose) if shape[2 if transpose else 1] >= 5 else None


def _yolox(output, input_size) -> Optional[Head]:
    shape = _shape(output)
    levels = find_levels(shape[1], input_size, 1) if shape is not None else None
    return _rows("yolox", output, shape, levels=levels) if levels and shape[2] >= 6 else None


def _end2end(output, input_size) -> Optional[Head]:
    shape = _shape(output)
    if shape is None or shape[2] != 6:
        return None
    return Head("end2end", output, False, shape[0], shape[1], 0)


_READERS: Dict[str, Callable] = {"yolov5": _yolov5, "yolov8": _yolov8, "yolox": _yolox, "end2end": _end2end}


def _rows(name, output, shape, transpose=False, levels=None) -> Head:
    rows, values = (shape[2], shape[1]) if transpose else (shape[1], shape[2])
    return Head(name, output, transpose, shape[0], rows, values - 5, levels)


def _columns(output, shape, transpose) -> Head:
    values, rows = (shape[2], shape[1]) if transpose else (shape[1], shape[2])
    return Head("yolov8", output, transpose, shape[0], rows, values - 4)


def _grid_is_on(axis, shape, input_size) -> bool:
    return any(find_levels(shape[axis], input_size, anchors) for anchors in (1, 3))


def _fits_grid(head: Head, input_size) -> bool:
    return any(find_levels(head.rows, input_size, anchors) for anchors in (1, 3))


def _shape(output) -> Optional[Tuple[int, int, int]]:
    """The static shape of a floating-point output with three axes, or None."""
    shape = output.axes
    if len(shape) != 3 or output.dtype not in ("float32", "float16"):
        return None
    return shape if all(isinstance(axis, int) for axis in shape) else None


def _written(output) -> str:
    return f"({', '.join(map(str, output.axes))})"


def _refuse_segmentation(outputs, input_size) -> None:
    for output in outputs:
        axes = output.axes
        if input_size and len(axes) == 4 and axes[1:] == (32, input_size[0] // 4, input_size[1] // 4):
            raise ModelError(
                f"the model is a segmentation model (output {_written(output)} holds mask prototypes); "
                "compile a detection model, or take the raw outputs with postprocess=None or --raw"
            )
