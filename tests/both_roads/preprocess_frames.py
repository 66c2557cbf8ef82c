"""Frames and options that the tests of every preprocess pass share; they need no TVM."""

import numpy as np

from tvm_zerocopy.specs import YUV_420, Frame, Preprocess

INPUT = (64, 96)  # height, width: small, not square
FORMATS = ["bgr8", "rgb8", "bgra8", "rgba8", "gray8", "nv12", "nv21", "yuyv", "uyvy", "i420"]
LAYOUTS = [(name, planes) for name in FORMATS for planes in ((False, True) if name in YUV_420 else (False,))]
OPTIONS = [
    Preprocess(),
    Preprocess.yolox(),
    Preprocess.imagenet(),
    Preprocess(layout="NHWC", interpolation="nearest", pad_value=0, channel_order="bgr"),
    Preprocess(scaleup=False, mean=(0.1, 0.2, 0.3), std=(0.5, 0.25, 2.0), scale=0.5),
    Preprocess(resize="stretch", layout="NHWC", mean=(1, 2, 3), channel_order="bgr"),
]


def random_frame(frame: Frame, height, width, seed=0, padding=0, misalign=0):
    """The frame's arrays with random samples; ``padding``: further pixels a row; ``misalign``: bytes off a boundary."""
    rng = np.random.default_rng(seed)
    batch = (frame.batch,) if frame.batch > 1 else ()
    arrays = []
    for shape in frame.shapes(height, width):
        padded = [*batch, *shape]
        padded[len(batch) + 1] += padding
        count = int(np.prod(padded))
        memory = np.zeros(count + 64, np.uint8)
        start = -memory.ctypes.data % 64 + misalign
        array = memory[start : start + count].reshape(padded)
        array[...] = rng.integers(0, 256, padded, dtype=np.uint8)  # the same wherever the memory lies
        arrays.append(array[(slice(None),) * (len(batch) + 1) + (slice(0, shape[1]),)])
    return arrays
