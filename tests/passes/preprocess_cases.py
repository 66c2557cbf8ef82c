"""Compiled preprocess kernels that the preprocess tests share."""

import functools

import numpy as np
import tvm
import tvm_ffi
from preprocess_frames import FORMATS, INPUT, LAYOUTS, NARROW, OPTIONS, random_frame

from tvm_zerocopy.passes.preprocess_kernel import preprocess_kernel
from tvm_zerocopy.schedules.cpu import Preprocess as PreprocessSchedule
from tvm_zerocopy.specs import Frame, Preprocess

__all__ = [
    "FORMATS",
    "INPUT",
    "LAYOUTS",
    "NARROW",
    "OPTIONS",
    "aligned",
    "kernel",
    "random_frame",
    "tensor",
]


@functools.lru_cache(maxsize=None)
def kernel(frame: Frame, preprocess: Preprocess, size=INPUT):
    """The scheduled kernel, compiled, as ``run(*frame arrays) -> image``."""
    func = preprocess_kernel(frame, preprocess, *size)
    target = tvm.target.Target("llvm")
    compiled = tvm.compile(PreprocessSchedule().apply(func, target).mod, target)["main"]
    shape = (frame.batch, 3, *size) if preprocess.layout == "NCHW" else (frame.batch, *size, 3)

    def run(*arrays):
        image = aligned(shape)
        compiled(*(tensor(a) for a in arrays), tensor(image))
        return image

    return run


def tensor(array):
    """The array's own memory as a TVM tensor, whatever its alignment and strides."""
    return tvm_ffi.from_dlpack(array, require_alignment=0)


def aligned(shape, dtype=np.float32):
    """Uninitialized memory on a 64-byte boundary, as outputs are."""
    count = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(count + 64, np.uint8)
    start = -memory.ctypes.data % 64
    return memory[start : start + count].view(dtype).reshape(shape)
