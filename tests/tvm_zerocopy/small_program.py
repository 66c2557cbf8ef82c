"""A program small enough to compile in a second, with the interface of a detector: what engine and artifact tests run.

It "detects" the frame's first pixels: detection i of frame b has the box (red, green, blue, blue) of pixel (0, i), the
score ``1 - i / 4``, the class ``red % 3``; there are as many as the frame has columns, four at most.
"""

import json

import numpy as np
import tvm
from tvm import relax
from tvm.script import tirx as T

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.engine import Engine
from tvm_zerocopy.passes.lower_main import LowerMainToPrimFunc
from tvm_zerocopy.program import build_module
from tvm_zerocopy.specs import Frame, Nms, Preprocess
from tvm_zerocopy.targets import resolve_target

MAX_DET = 4
NAMES = ["red", "green", "blue"]


def kernel(batch):
    @T.prim_func(private=True, s_tir=True)
    def detect(
        frame: T.handle,
        boxes: T.Buffer((batch, 4, 4), "float32"),
        scores: T.Buffer((batch, 4), "float32"),
        classes: T.Buffer((batch, 4), "int32"),
        count: T.Buffer((batch,), "int32"),
    ):
        T.func_attr({"tirx.noalias": True})
        height, width, pitch, distance = T.int64(), T.int64(), T.int64(), T.int64()
        shape = (batch, height, width, 3)
        pixels = T.match_buffer(frame, shape, "uint8", strides=(distance, pitch, 3, 1), align=1)
        for b in range(batch):
            with T.sblock("count"):
                vb = T.axis.spatial(batch, b)
                count[vb] = T.Cast("int32", T.min(width, T.int64(4)))
        for b, i in T.grid(batch, 4):
            with T.sblock("detect"):
                vb, vi = T.axis.remap("SS", [b, i])
                if T.Cast("int64", vi) < width:
                    for k in range(4):
                        boxes[vb, vi, k] = T.Cast("float32", pixels[vb, 0, vi, T.min(k, 2)])
                    scores[vb, vi] = T.float32(1) - T.Cast("float32", vi) / T.float32(4)
                    classes[vb, vi] = T.Cast("int32", pixels[vb, 0, vi, 0]) % 3

    return detect


def expected(frame):
    """(boxes, scores, classes) for one frame."""
    pixels = np.asarray(frame)[0, :MAX_DET].astype("float32")
    found = len(pixels)
    return pixels[:, [0, 1, 2, 2]], 1 - np.arange(found, dtype="float32") / 4, pixels[:, 0].astype("int32") % 3


def module(batch):
    builder = relax.BlockBuilder()
    size = [batch, tvm.tirx.Var("height", "int64"), tvm.tirx.Var("width", "int64"), 3]
    frame = relax.Var("frame", relax.TensorType(size, "uint8"))
    shapes = [((batch, 4, 4), "float32"), ((batch, 4), "float32"), ((batch, 4), "int32"), ((batch,), "int32")]
    types = [relax.TensorType(shape, dtype) for shape, dtype in shapes]
    name = builder.add_func(kernel(batch), "detect")
    with builder.function("main", [frame]):
        with builder.dataflow():
            result = builder.emit_output(relax.call_tir(name, [frame], types))
        builder.emit_func_output(result)
    return LowerMainToPrimFunc()(builder.get())


def engine(batch=2, raw=False, **frame):
    """An Engine for ``batch`` bgr8 frames (at least two) of any size, or as ``Frame(**frame)`` says."""
    target = resolve_target("llvm")
    lowered = module(batch)
    metadata = {
        "frame": Frame("bgr8", batch=batch, **frame).to_json(),
        "preprocess": Preprocess().to_json(),
        "postprocess": None if raw else Nms(max_det=MAX_DET).to_json(),
        "names": NAMES,
        "output_names": ["a", "b", "c", "d"],
        "target": str(target),
    }
    program = json.loads(lowered.attrs["tz.program"])
    return Engine(build_module(lowered, target), program, ExternalBuffer.wrap(lowered.attrs["tz.weights"]), metadata)
