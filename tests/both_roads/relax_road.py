"""Relax modules for tests that do not know which IR they are of; the same names as ``relay_road``."""

import functools
import json
import math

import numpy as np
import small_program
import tvm
import tvm_ffi
from preprocess_frames import INPUT
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx as _from_onnx

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.engine import Engine
from tvm_zerocopy.passes.fold_normalization import FoldNormalization
from tvm_zerocopy.passes.fuse_detection_head import FuseDetectionHead
from tvm_zerocopy.passes.fuse_preprocess import FusePreprocess
from tvm_zerocopy.passes.lower_main import LowerMainToPrimFunc
from tvm_zerocopy.passes.preprocess_kernel import frame_tensors, preprocess_kernel, taps_kernel
from tvm_zerocopy.program import build_module
from tvm_zerocopy.schedules.cpu import Preprocess as PreprocessSchedule
from tvm_zerocopy.schedules.cpu import PreprocessTaps
from tvm_zerocopy.specs import YUV_420, Frame, Preprocess
from tvm_zerocopy.targets import resolve_target

__all__ = [
    "REFUSED",
    "FoldNormalization",
    "FuseDetectionHead",
    "FusePreprocess",
    "assert_equal",
    "compiled",
    "frame_argument",
    "frame_parameter",
    "from_onnx",
    "image_program",
    "is_equal",
    "memory_of_kernels",
    "module",
    "network_program",
    "operators",
    "parameters",
    "preprocess_of",
    "program",
    "results",
    "samples_gathered",
    "small_engine",
    "with_attributes",
]
CPU = tvm.target.Target("llvm")
REFUSED = ValueError  # what a program raises that is given a frame of another kind
NAMES = {"permute_dims": "transpose", "concat": "concatenate"}


class Ops:
    """Operators of float32 tensors, each emitted as it is called."""

    def __init__(self, builder):
        self._emit = builder.emit

    @staticmethod
    def constant(array, dtype="float32"):
        return relax.const(np.asarray(array, dtype))

    @staticmethod
    def side(x, axis):
        return int(x.ty.shape[axis])

    def add(self, x, y):
        return self._emit(relax.op.add(x, y))

    def subtract(self, x, y):
        return self._emit(relax.op.subtract(x, y))

    def multiply(self, x, y):
        return self._emit(relax.op.multiply(x, y))

    def divide(self, x, y):
        return self._emit(relax.op.divide(x, y))

    def relu(self, x):
        return self._emit(relax.op.nn.relu(x))

    def take(self, x, indices, axis):
        return self._emit(relax.op.take(x, relax.const(np.array(indices, "int64")), axis=axis, mode="clip"))

    def flip(self, x, axis):
        return self._emit(relax.op.flip(x, axis=axis))

    def split(self, x, parts, axis):
        whole = self._emit(relax.op.split(x, parts, axis=axis))
        return [self._emit(relax.TupleGetItem(whole, k)) for k in range(parts)]

    def concatenate(self, xs, axis):
        return self._emit(relax.op.concat(xs, axis=axis))

    def every_second_pixel(self, x, begin, end):
        return self._emit(relax.op.strided_slice(x, [2, 3], begin, end, [2, 2]))

    def pad_pixels(self, x, value):
        return self._emit(relax.op.nn.pad(x, (0, 0, 0, 0, 1, 1, 1, 1), pad_value=value))

    def transpose(self, x, axes):
        return self._emit(relax.op.permute_dims(x, axes))

    def conv2d(self, x, weight, **attrs):
        return self._emit(relax.op.nn.conv2d(x, weight, **attrs))


def module(parameters, body):
    """``main`` of parameters (name, shape, dtype), None in a shape for any size; ``body(ops, *variables)`` is what it
    returns, or a list of that."""
    builder = relax.BlockBuilder()
    variables = []
    for name, shape, dtype in parameters:
        sides = [tvm.tirx.Var("n", "int64") if side is None else side for side in shape]
        variables.append(relax.Var(name, relax.TensorType(sides, dtype)))
    with builder.function("main", variables):
        with builder.dataflow():
            made = body(Ops(builder), *variables)
            out = builder.emit_output(relax.Tuple(made) if isinstance(made, list) else made)
        builder.emit_func_output(out)
    return builder.get()


def from_onnx(model):
    return _from_onnx(model)


def with_attributes(mod, **attributes):
    mod["main"] = mod["main"].with_attrs({f"tz.{key}": value for key, value in attributes.items()})
    return mod


def program(mod):
    """The module, built, as ``run(*arrays) -> list of arrays``."""
    relax.analysis.well_formed(mod)
    machine = relax.VirtualMachine(tvm.compile(relax.transform.LegalizeOps()(mod), "llvm"), tvm.cpu())

    def run(*arrays):
        out = machine["main"](*map(_tensor, arrays))
        return [out.numpy()] if isinstance(out, tvm.runtime.Tensor) else [o.numpy() for o in out]

    return run


network_program = program


def compiled(func):
    """A PrimFunc, built, as ``run(*arrays)``; it writes into those that it writes to."""
    built = tvm.compile(func, "llvm")["main"]
    return lambda *arrays: built(*map(_tensor, arrays))


def _tensor(array):
    """The array's own memory, whatever its alignment and strides; a number as it is."""
    return tvm_ffi.from_dlpack(array, require_alignment=0) if isinstance(array, np.ndarray) else array


@functools.lru_cache(maxsize=None)
def image_program(frame, preprocess, size=INPUT):
    """The preprocess kernels, scheduled and built, as ``run(*frame arrays) -> image``; arrays are read in place."""
    taps = taps_kernel(frame, preprocess, *size)
    fill = compiled(PreprocessTaps().apply(taps, CPU).mod)
    run = compiled(PreprocessSchedule().apply(_kernel(frame, preprocess, size), CPU).mod)
    shape = (frame.batch, 3, *size) if preprocess.layout == "NCHW" else (frame.batch, *size, 3)
    is_open = [isinstance(side, tvm.tirx.Var) for side in frame_tensors(frame).shapes[0]]

    def image(*arrays):
        table, made = _aligned(taps.params[-1].shape, np.int32), _aligned(shape, np.float32)
        fill(*(size for size, open_ in zip(arrays[0].shape, is_open) if open_), table)
        run(*arrays, table, made)
        return made

    return image


def _kernel(frame, preprocess, size):
    return preprocess_kernel(frame, preprocess, *size, taps_given=True)


def _aligned(shape, dtype):
    """An array on a 64-byte boundary, where outputs lie."""
    shape = [int(side) for side in shape]
    memory = np.empty(math.prod(shape) + 16, dtype)
    start = -memory.ctypes.data % 64 // memory.itemsize
    return memory[start : start + math.prod(shape)].reshape(shape)


def samples_gathered(frame, preprocess, size):
    """How many samples the kernel reads before it interpolates."""
    sch = tvm.s_tir.Schedule(_kernel(frame, preprocess, size))
    return math.prod(int(extent) for extent in sch.get(sch.get_sblock("gather")).writes[0].source.shape)


def memory_of_kernels(frame, preprocess, size):
    """(elements allocated, stores into the image) of the kernel as others schedule it, and as it is scheduled here."""
    func = _kernel(frame, preprocess, size)
    return [_memory(mod) for mod in (tvm.IRModule({"main": func}), PreprocessSchedule().apply(func, CPU).mod)]


def _memory(mod):
    passes = [
        tvm.s_tir.transform.LowerInitBlock(),
        tvm.s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        tvm.s_tir.transform.ConvertBlocksToOpaque(),
        tvm.s_tir.transform.CompactBufferAllocation(),
        tvm.s_tir.transform.LowerOpaqueBlock(),
    ]
    allocated, stores = [], []

    def visit(node):
        if isinstance(node, tvm.tirx.AllocBuffer):
            allocated.append(math.prod(int(side) for side in node.buffer.shape))
        if isinstance(node, tvm.tirx.BufferStore) and node.buffer.name == "image":
            stores.append(node)

    body = tvm.ir.transform.Sequential(passes)(mod)["main"].body
    tvm_ffi.structural_walk(body, (object, visit), order="pre")
    return sum(allocated), len(stores)


def frame_parameter(frame):
    """The parameter that ``main`` has for a frame's first tensor."""
    if not frame.dynamic:
        return "frame", frame.shapes(frame.height, frame.width)[0], "uint8"
    height, width = (tvm.tirx.Var(side, "int64") for side in ("height", "width"))
    whole = frame.format in YUV_420 and not frame.planes  # rows of luma and chroma together
    return "frame", (height, width) if whole else frame.shapes(height, width)[0], "uint8"


def frame_argument(frame, array):
    return array


def small_engine(batch=2, raw=False, **frame):
    """An Engine of `small_program` for ``batch`` (over one) bgr8 frames of any size, or as ``Frame(**frame)`` says."""
    builder = relax.BlockBuilder()
    size = [batch, tvm.tirx.Var("height", "int64"), tvm.tirx.Var("width", "int64"), 3]
    pixels = relax.Var("frame", relax.TensorType(size, "uint8"))
    types = [relax.TensorType(shape, dtype) for shape, dtype in small_program.result_types(batch)]
    name = builder.add_func(small_program.kernel(batch), "detect")
    with builder.function("main", [pixels]):
        with builder.dataflow():
            result = builder.emit_output(relax.call_tir(name, [pixels], types))
        builder.emit_func_output(result)
    lowered, target = LowerMainToPrimFunc()(builder.get()), resolve_target("llvm")
    return Engine(
        build_module(lowered, target),
        json.loads(lowered.attrs["tz.program"]),
        ExternalBuffer.wrap(lowered.attrs["tz.weights"]),
        small_program.metadata(target, Frame("bgr8", batch=batch, **frame), raw),
    )


def operators(mod):
    """Names of the operators that ``main`` calls, in order."""
    values = [b.value for block in mod["main"].body.blocks for b in block.bindings]
    names = [str(v.op.name).replace("relax.", "") for v in values if isinstance(getattr(v, "op", None), tvm.ir.Op)]
    return [NAMES.get(name, name) for name in names]


def parameters(mod):
    """(name, dtype, number of axes) of ``main``'s parameters."""
    return [(p.name, str(p.ty.dtype), p.ty.ndim) for p in mod["main"].params]


def results(mod):
    """(shape, dtype) of what ``main`` returns."""
    return [(tuple(int(side) for side in ty.shape), str(ty.dtype)) for ty in mod["main"].ret_ty.fields]


def preprocess_of(mod):
    """What the module's preprocess kernel does."""
    (found,) = (
        f for f in mod.functions.values() if "tz.preprocess" in (f.attrs or {}) and isinstance(f, tvm.tirx.PrimFunc)
    )
    return Preprocess.from_json(found.attrs["tz.preprocess"])


def assert_equal(mod, other):
    tvm.ir.assert_structural_equal(mod, other)


def is_equal(mod, other):
    return tvm_ffi.structural_equal(mod, other)
