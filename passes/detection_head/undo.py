"""The letterbox undone, as expressions of a kernel."""

from typing import Callable, NamedTuple, Optional, Tuple

from tvm_zerocopy.geometry import letterbox
from tvm_zerocopy.specs import Frame, Preprocess

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


def known_geometry(frame: Frame, preprocess: Preprocess, size: Tuple[int, int]) -> FrameGeometry:
    """The way from a model input of ``size`` (height, width) into a frame of fixed size."""
    known = letterbox(frame.height, frame.width, *size, preprocess)
    return FrameGeometry(lambda box, h, w: undo(box, h, w, known), frame.height, frame.width)


def undo(box, height, width, geometry):
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
