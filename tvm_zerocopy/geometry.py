"""Where the frame's picture sits in the model's input, and the way back for boxes. Plain Python float64.

The rounding is Ultralytics' (``ultralytics.data.augment.LetterBox``) or YOLOX's (``yolox.data.data_augment.preproc``,
``rounding="floor"``). The same formula as kernel expressions: ``tvm_zerocopy.passes.preprocess_kernel.geometry``.
"""

import math
from typing import Iterable, List, NamedTuple, Tuple

from .errors import FrameError
from .specs import Preprocess


class Geometry(NamedTuple):
    """The resized picture inside the model's input, in pixels of that input.

    A frame's point x is at ``x * scale_x + left`` of the input, and likewise for y.
    """

    scale_x: float
    scale_y: float
    left: int
    top: int
    new_width: int
    new_height: int


def letterbox(height: int, width: int, input_height: int, input_width: int, preprocess: Preprocess) -> Geometry:
    """The geometry of a ``height`` x ``width`` frame in an ``input_height`` x ``input_width`` model input.

    A side that would shrink to nothing keeps one pixel. Raises FrameError if a size is not positive.
    """
    if min(height, width, input_height, input_width) < 1:
        raise FrameError(
            f"cannot fit a {width}x{height} frame into a {input_width}x{input_height} input; sizes must be at least 1"
        )
    if preprocess.resize == "stretch":
        return Geometry(input_width / width, input_height / height, 0, 0, input_width, input_height)
    ratio = min(input_height / height, input_width / width)
    if not preprocess.scaleup:
        ratio = min(ratio, 1.0)
    whole = round if preprocess.rounding == "nearest" else math.floor  # round() rounds half to even
    new_width, new_height = max(1, whole(width * ratio)), max(1, whole(height * ratio))
    left = top = 0
    if preprocess.align == "center":
        # Ultralytics' round((input - new) / 2 - 0.1), in whole numbers
        left, top = (input_width - new_width) // 2, (input_height - new_height) // 2
    return Geometry(ratio, ratio, left, top, new_width, new_height)


def unletterbox_boxes(boxes: Iterable, geometry: Geometry, height: int, width: int) -> List[Tuple[float, ...]]:
    """Boxes ``(x1, y1, x2, y2)`` from model-input pixels to frame pixels, clipped to the frame.

    ``ultralytics.utils.ops.scale_boxes``: subtract the padding, divide by the gain, clip.
    """

    def clip(value, limit):
        return min(max(value, 0.0), float(limit))

    result = []
    for x1, y1, x2, y2 in boxes:
        xs = (clip((x - geometry.left) / geometry.scale_x, width) for x in (x1, x2))
        ys = (clip((y - geometry.top) / geometry.scale_y, height) for y in (y1, y2))
        (left, right), (top, bottom) = xs, ys
        result.append((left, top, right, bottom))
    return result
