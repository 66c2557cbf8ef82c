"""A program small enough to compile in a second, with the interface of a detector: what engine and artifact tests run.

It "detects" the frame's first pixels: detection i of frame b has the box (red, green, blue, blue) of pixel (0, i), the
score ``1 - i / 4``, the class ``red % 3``; there are as many as the frame has columns, four at most. ``road`` makes an
engine of its kernel.
"""

import numpy as np
from tvm.script.ir_builder import IRBuilder

from tvm_zerocopy.passes.preprocess_kernel.ops import tir
from tvm_zerocopy.passes.preprocess_kernel.script import T
from tvm_zerocopy.passes.preprocess_kernel.tensors import declare_parameters, frame_tensors
from tvm_zerocopy.specs import Frame, Nms, Preprocess

MAX_DET = 4
NAMES = ["red", "green", "blue"]


def result_types(batch):
    """(shape, dtype) of what the kernel writes."""
    return [((batch, 4, 4), "float32"), ((batch, 4), "float32"), ((batch, 4), "int32"), ((batch,), "int32")]


def kernel(batch):
    """The PrimFunc, of frames of any size and pitch; not scheduled."""
    frame = Frame("bgr8", batch=batch)
    tensors = frame_tensors(frame)
    with IRBuilder() as builder, T.prim_func(s_tir=True):
        T.func_name("detect")
        T.func_attr({"tirx.noalias": True})
        (pixels,) = declare_parameters(frame, tensors)
        types = zip(("boxes", "scores", "classes", "count"), result_types(batch))
        boxes, scores, classes, count = (T.arg(name, T.buffer(*ty)) for name, ty in types)
        with T.serial(0, batch) as b, T.sblock("count"):
            found = tir.min(tensors.width, tir.IntImm("int64", MAX_DET))
            T.buffer_store(count, tir.Cast("int32", found), [T.axis.spatial(batch, b)])
        with T.serial(0, batch) as b, T.serial(0, MAX_DET) as i, T.sblock("detect"):
            vb, vi = T.axis.spatial(batch, b), T.axis.spatial(MAX_DET, i)
            with T.If(tir.Cast("int64", vi) < tensors.width), T.Then():
                for k, channel in enumerate((0, 1, 2, 2)):
                    T.buffer_store(boxes, tir.Cast("float32", pixels[vb, 0, vi, channel]), [vb, vi, k])
                score = tir.const(1, "float32") - tir.Cast("float32", vi) / tir.const(MAX_DET, "float32")
                T.buffer_store(scores, score, [vb, vi])
                T.buffer_store(classes, tir.Cast("int32", pixels[vb, 0, vi, 0]) % 3, [vb, vi])
    return builder.get()


def expected(frame):
    """(boxes, scores, classes) for one frame."""
    pixels = np.asarray(frame)[0, :MAX_DET].astype("float32")
    found = len(pixels)
    return pixels[:, [0, 1, 2, 2]], 1 - np.arange(found, dtype="float32") / 4, pixels[:, 0].astype("int32") % 3


def metadata(target, frame: Frame, raw: bool):
    """What an engine of it knows."""
    return {
        "frame": frame.to_json(),
        "preprocess": Preprocess().to_json(),
        "postprocess": None if raw else Nms(max_det=MAX_DET).to_json(),
        "names": NAMES,
        "output_names": ["a", "b", "c", "d"],
        "target": str(target),
    }
