"""From model-input pixels to frame pixels: the letterbox undone inside the kernel."""

from typing import Optional, Tuple

from tvm import relax, tirx

from tvm_zerocopy.errors import ModelError
from tvm_zerocopy.specs import YUV_420, Frame, Preprocess

from ..preprocess_kernel import geometry as kernel_geometry
from .undo import FrameGeometry, known_geometry, undo


def input_size(main: relax.Function) -> Optional[Tuple[int, int]]:
    """(height, width) in pixels of the image that the network reads: of the first static, float image in ``main``.

    That is a parameter, or what ``FusePreprocess`` put in its place. None if there is none.
    """
    for ty in _tensors(main):
        if ty.shape is None or len(ty.shape) != 4 or not str(ty.dtype).startswith(("float", "bfloat")):
            continue
        try:
            shape = [int(v) for v in ty.shape]
        except TypeError:
            continue
        if shape[1] == 3:
            return shape[2], shape[3]
        if shape[3] == 3:
            return shape[1], shape[2]
    return None


def frame_geometry(main: relax.Function, size: Optional[Tuple[int, int]]) -> FrameGeometry:
    """The way into the frame that ``FusePreprocess`` recorded on ``main``; identity if it recorded none."""
    attributes = main.attrs or {}
    if "tz.frame" not in attributes:
        return FrameGeometry()
    if size is None:
        raise ModelError("main has the attribute tz.frame but no float image with three channels; run FusePreprocess")
    frame = Frame.from_json(str(attributes["tz.frame"]))
    preprocess = Preprocess.from_json(str(attributes["tz.preprocess"]))
    if not frame.dynamic:
        return known_geometry(frame, preprocess, size)

    def undo_symbolic(box, h, w):
        return undo(box, h, w, kernel_geometry.symbolic_letterbox(h, w, *size, preprocess))

    return FrameGeometry(undo_symbolic, *_frame_size(main, frame), symbolic=True)


def _frame_size(main: relax.Function, frame: Frame):
    """The frame's height and width as expressions of the first frame tensor's symbolic shape."""
    shape = next(list(p.ty.shape) for p in main.params if str(getattr(p.ty, "dtype", "")) == "uint8")
    height, width = shape[-len(frame.shapes(2, 2)[0]) :][:2]
    if frame.format in YUV_420 and not frame.planes:
        height = tirx.floordiv(height * 2, 3)
    return height, width


def _tensors(main: relax.Function):
    """Types of the parameters and of the values bound in ``main``, in order."""
    for param in main.params:
        if isinstance(param.ty, relax.TensorType):
            yield param.ty
    for block in main.body.blocks:
        for binding in block.bindings:
            if isinstance(binding.var.ty, relax.TensorType):
                yield binding.var.ty
