"""A frame's tensors: symbolic shapes, names, and the kernel's parameters for them."""

from typing import NamedTuple, Sequence

from tvm_zerocopy.specs import YUV_420, Frame

from .ops import tir
from .script import T

_NAMES = {1: ("frame",), 2: ("luma", "chroma"), 3: ("luma", "u", "v")}


class FrameTensors(NamedTuple):
    """Shapes (int64, batch axis included) and names; ``height`` and ``width`` (pixels) are plain integers if known."""

    names: Sequence[str]
    shapes: Sequence
    height: object
    width: object


def frame_tensors(frame: Frame) -> FrameTensors:
    """The tensors of ``frame``. Sizes it leaves open are fresh variables, each an axis of the first tensor."""
    if not frame.dynamic:
        height, width = frame.height, frame.width
        shapes = frame.shapes(height, width)
    else:
        width = tir.Var("width", "int64")
        if frame.format in YUV_420 and not frame.planes:  # rows of luma and of chroma together
            rows = tir.Var("rows", "int64")
            height, shapes = rows // 3 * 2, ((rows, width),)
        else:
            height = tir.Var("height", "int64")
            shapes = frame.shapes(height, width)
    batch = (frame.batch,) if frame.batch > 1 else ()
    shapes = [[_int64(side) for side in (*batch, *shape)] for shape in shapes]
    return FrameTensors(_NAMES[len(shapes)], shapes, height, width)


def declare_parameters(frame: Frame, tensors: FrameTensors):
    """The tensors as parameters of the PrimFunc being built: dense within a row, of any row pitch, aligned to a byte.

    ``Frame.pitch`` is the pitch of the first tensor; chroma planes always bring their own.
    """
    buffers = []
    for name, shape in zip(tensors.names, tensors.shapes):
        row_axis = 1 if frame.batch > 1 else 0
        strides = [_int64(1)] * len(shape)
        for axis in reversed(range(row_axis + 1, len(shape) - 1)):
            strides[axis] = strides[axis + 1] * shape[axis + 1]
        strides[row_axis] = tir.Var(f"{name}_pitch", "int64")
        if frame.pitch is not None and not buffers:
            strides[row_axis] = _int64(frame.pitch)
        if frame.batch > 1:
            strides[0] = tir.Var(f"{name}_distance", "int64")
        buffers.append(T.arg(name, T.buffer(shape, "uint8", strides=strides, align=1)))
    return buffers


def check_size(frame: Frame, tensors: FrameTensors):
    """Refuse, at run time, a size that no frame of this format has; the kernel would read outside it."""
    if not frame.dynamic:
        return
    even = []
    if frame.is_yuv:
        even.append(tensors.width)
    if frame.format in YUV_420:
        even.append(tensors.height)
    allowed = tir.all(tensors.height >= 1, tensors.width >= 1, *(side % 2 == 0 for side in even))
    message = f"a {frame.format} frame needs at least one pixel"
    if even:
        message += " and an even " + " and ".join(("width", "height")[: len(even)])
    if frame.format in YUV_420 and not frame.planes:
        rows = tensors.shapes[0][1 if frame.batch > 1 else 0]
        allowed, message = tir.all(rows % 3 == 0, allowed), message + ": height * 3 / 2 rows"
    with T.Assert(allowed, message, error_kind="ValueError"):
        pass


def _int64(value):
    return tir.IntImm("int64", value) if isinstance(value, int) else value
