"""What Relax's ``main`` says of the image that the network reads and of the frame that it is made of."""

from typing import Optional, Tuple

from tvm import relax, tirx

from tvm_zerocopy.specs import YUV_420, Frame

from ..model_image import image_size
from ..tensor_types import tensor_of
from .undo import FrameGeometry, recorded_geometry


def input_size(main: relax.Function) -> Optional[Tuple[int, int]]:
    """(height, width) in pixels of the image that the network reads: of the first static, float image in ``main``.

    That is a parameter, or what ``FusePreprocess`` put in its place. None if there is none.
    """
    bound = (binding.var for block in main.body.blocks for binding in block.bindings)
    return image_size(tensor_of(var.name, var.ty) for values in (main.params, bound) for var in values)


def frame_geometry(main: relax.Function, size: Optional[Tuple[int, int]]) -> FrameGeometry:
    """The way into the frame that ``FusePreprocess`` recorded on ``main``; identity if it recorded none."""
    return recorded_geometry(main.attrs, size, lambda frame: _frame_size(main, frame))


def _frame_size(main: relax.Function, frame: Frame):
    """The frame's height and width as expressions of the first frame tensor's symbolic shape."""
    shape = next(list(p.ty.shape) for p in main.params if str(getattr(p.ty, "dtype", "")) == "uint8")
    height, width = shape[-len(frame.shapes(2, 2)[0]) :][:2]
    if frame.format in YUV_420 and not frame.planes:
        height = tirx.floordiv(height * 2, 3)
    return height, width
