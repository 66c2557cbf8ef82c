"""The letterbox undone, as expressions of a kernel."""

from typing import Callable, NamedTuple, Optional, Tuple

from tvm_zerocopy.errors import ModelError
from tvm_zerocopy.geometry import letterbox
from tvm_zerocopy.specs import Frame, Preprocess

from ..preprocess_kernel.geometry import symbolic_letterbox
from .script import T


class FrameGeometry(NamedTuple):
    """How boxes get into the frame.

    ``undo(box, height, width)`` makes four float32 expressions of four; None: boxes stay in model-input pixels.
    ``height`` and ``width`` are the frame's, integers or (``symbolic``) int64 expressions of ``main``'s variables.
    """

    undo: Optional[Callable] = None
    height: object = 0
    width: object = 0
    symbolic: bool = False


def recorded_geometry(attributes, size: Optional[Tuple[int, int]], frame_size: Callable) -> FrameGeometry:
    """The way into the frame that ``FusePreprocess`` recorded on ``main``; identity if it recorded none.

    Parameters
    ----------
    attributes : mapping or None
        Of ``main``.
    size : (height, width) or None
        Of the model's input in pixels.
    frame_size : function of Frame
        Height and width of a frame of any size, as expressions.
    """
    if not attributes or "tz.frame" not in attributes:
        return FrameGeometry()
    if size is None:
        raise ModelError("main has the attribute tz.frame but no float image with three channels; run FusePreprocess")
    frame = Frame.from_json(str(attributes["tz.frame"]))
    preprocess = Preprocess.from_json(str(attributes["tz.preprocess"]))
    if not frame.dynamic:
        known = letterbox(frame.height, frame.width, *size, preprocess)
        return FrameGeometry(lambda box, h, w: _undo(box, h, w, known), frame.height, frame.width)

    def undo_symbolic(box, h, w):
        return _undo(box, h, w, symbolic_letterbox(h, w, *size, preprocess))

    return FrameGeometry(undo_symbolic, *frame_size(frame), symbolic=True)


def _undo(box, height, width, geometry):
    """``ultralytics.utils.ops.scale_boxes``: subtract the padding, divide by the gain, clip."""
    scale_x, scale_y, left, top = (
        T.float32(v) if isinstance(v, (int, float)) else T.Cast("float32", v)
        for v in (geometry.scale_x, geometry.scale_y, geometry.left, geometry.top)
    )

    def clip(value, limit):
        return T.max(T.min(value, T.Cast("float32", limit)), T.float32(0))

    x1, y1, x2, y2 = box
    return (
        clip((x1 - left) / scale_x, width),
        clip((y1 - top) / scale_y, height),
        clip((x2 - left) / scale_x, width),
        clip((y2 - top) / scale_y, height),
    )
