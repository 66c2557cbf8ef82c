"""Relay modules for tests that do not know which IR they are of; the same names as ``relax_road``."""

import functools

import numpy as np
import small_program
import tvm
from preprocess_frames import INPUT
from tvm import relay, tir
from tvm.contrib import graph_executor

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.passes.preprocess_kernel import preprocess_kernel
from tvm_zerocopy.passes.relay import FoldNormalization, FuseDetectionHead, FusePreprocess
from tvm_zerocopy.passes.relay.frame_descriptor import describe, descriptor_length, take_descriptors
from tvm_zerocopy.passes.relay.preprocess_schedules import scheduled_kernel
from tvm_zerocopy.passes.relay.tir_operator import call_kernel, kernel_of, without_blocks
from tvm_zerocopy.relay.engine import GraphEngine
from tvm_zerocopy.relay.graph import program_of
from tvm_zerocopy.specs import Frame, Preprocess

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
REFUSED = (ValueError, tvm.TVMError)  # what a program raises that is given a frame of another kind
TARGET = "llvm -mtriple=x86_64-linux-gnu" if "x86_64" in tvm.target.codegen.llvm_get_targets() else "llvm"


class Ops:
    """Operators of float32 tensors."""

    add, subtract = staticmethod(relay.add), staticmethod(relay.subtract)
    multiply, divide = staticmethod(relay.multiply), staticmethod(relay.divide)
    relu, transpose = staticmethod(relay.nn.relu), staticmethod(relay.transpose)
    flip, split = staticmethod(relay.reverse), staticmethod(relay.split)
    concatenate = staticmethod(relay.concatenate)

    @staticmethod
    def constant(array, dtype="float32"):
        return relay.const(np.asarray(array, dtype))

    @staticmethod
    def side(x, axis):
        return int(relay.transform.InferTypeLocal(x).shape[axis])

    @staticmethod
    def take(x, indices, axis):
        return relay.take(x, relay.const(np.array(indices, "int64")), axis=axis)

    @staticmethod
    def every_second_pixel(x, begin, end):
        return relay.strided_slice(x, begin, end, [2, 2], axes=[2, 3])

    @staticmethod
    def pad_pixels(x, value):
        return relay.nn.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), pad_value=value)

    @staticmethod
    def conv2d(x, weight, **attrs):
        if isinstance(weight, relay.Constant):
            layout, shape = attrs.get("kernel_layout", "OIHW"), weight.data.shape
            attrs["channels"] = int(shape[layout.index("O")])
            attrs["kernel_size"] = tuple(int(shape[layout.index(axis)]) for axis in "HW")
        return relay.nn.conv2d(x, weight, **attrs)


def module(parameters, body):
    """``main`` of parameters (name, shape, dtype), None in a shape for any size; ``body(ops, *variables)`` is what it
    returns, or a list of that."""
    variables = []
    for name, shape, dtype in parameters:
        sides = [relay.Any() if side is None else side for side in shape]
        variables.append(relay.var(name, shape=sides, dtype=dtype))
    made = body(Ops, *variables)
    main = relay.Function(variables, relay.Tuple(made) if isinstance(made, list) else made)
    return tvm.IRModule.from_expr(main)


def from_onnx(model):
    return relay.frontend.from_onnx(model, freeze_params=True)[0]


def with_attributes(mod, **attributes):
    main = mod["main"]
    for key, value in attributes.items():
        main = main.with_attr(f"tz.{key}", value)
    return tvm.IRModule.from_expr(main)


def build(mod, opt_level=3):
    with tvm.transform.PassContext(opt_level=opt_level):
        return relay.build(mod, TARGET)


def program(mod, opt_level=3):
    """The module, built, as ``run(*arrays) -> list of arrays``."""
    library = build(mod, opt_level)
    executor = graph_executor.GraphModule(library["default"](tvm.cpu()))
    names = [param.name_hint for param in mod["main"].params]

    def run(*arrays):
        for name, array in zip(names, arrays):
            if executor.get_input_index(name) >= 0:  # one that nothing reads is gone
                executor.set_input(name, np.ascontiguousarray(array))
        executor.run()
        return [executor.get_output(i).numpy() for i in range(executor.get_num_outputs())]

    return run


def network_program(mod):
    """``program`` of a whole network in half the time: without blocked layouts, for which each weight is compiled."""
    return program(mod, opt_level=2)


def compiled(func):
    """A PrimFunc, built, as ``run(*arrays)``; it writes into those that it writes to."""
    built = tvm.build(func, target=TARGET)

    def run(*arrays):
        tensors = [tvm.nd.array(array) for array in arrays]
        built(*tensors)
        for array, tensor in zip(arrays, tensors):
            array[...] = tensor.numpy()

    return run


def image_program(frame, preprocess, size=INPUT):
    """``relay.build``'s program of an image and nothing else, as ``run(*frame arrays) -> image``.

    Dense arrays of a fixed size are given as they are, all others by their address.
    """

    def run(*arrays):
        dense = all(array.flags.c_contiguous for array in arrays)
        fused = FusePreprocess(frame, preprocess, None if dense else True)
        given = [_descriptor(array) for array in arrays] if fused.by_address else arrays
        return _image_program(frame, preprocess, size, fused.by_address)(*given)[0]

    return run


@functools.lru_cache(maxsize=None)
def _image_program(frame, preprocess, size, by_address):
    shape = (frame.batch, 3, *size) if preprocess.layout == "NCHW" else (frame.batch, *size, 3)
    mod = module([("images", shape, "float32")], lambda ops, images: images)
    return program(FusePreprocess(frame, preprocess, by_address)(mod))


def _descriptor(array):
    """What stands for a frame's tensor; the array must live until the program has run."""
    return np.array(describe(ExternalBuffer.wrap(array)), np.int64)


def samples_gathered(frame, preprocess, size):
    """How many samples the kernel reads before it interpolates."""
    sch = tir.Schedule(preprocess_kernel(frame, preprocess, *size))
    return int(np.prod([int(extent) for extent in sch.get(sch.get_block("gather")).writes[0].buffer.shape]))


def memory_of_kernels(frame, preprocess, size):
    """(elements allocated, stores into the image) of the kernel that reads tensors, if it can, and by addresses."""
    roads = (True,) if frame.dynamic else (False, True)
    return [_memory(scheduled_kernel(frame, preprocess, *size, "float32", by_address)) for by_address in roads]


def _memory(kernel):
    allocated, stores = [], []

    def visit(node):
        if isinstance(node, tir.Allocate):
            allocated.append(int(np.prod([int(side) for side in node.extents])))
        if isinstance(node, tir.BufferStore) and node.buffer.name == "image":
            stores.append(node)

    tir.stmt_functor.post_order_visit(without_blocks(kernel).body, visit)
    return sum(allocated), len(stores)


def frame_parameter(frame):
    """The parameter that ``main`` has for a frame's first tensor."""
    shape = frame.shapes(frame.height or 2, frame.width or 2)[0]
    if frame.dynamic:
        return "frame", (descriptor_length(len(shape)),), "int64"
    return "frame", shape, "uint8"


def frame_argument(frame, array):
    """What is given for one of a frame's tensors."""
    return _descriptor(array) if frame.dynamic else array


def small_engine(batch=2, raw=False, **frame):
    """An Engine of `small_program` for ``batch`` (over one) bgr8 frames of any size, or as ``Frame(**frame)`` says."""
    frame = Frame("bgr8", batch=batch, **frame)
    kernel = take_descriptors(without_blocks(small_program.kernel(batch)), 1)
    pixels = relay.var("frame", shape=(descriptor_length(4),), dtype="int64")
    results = call_kernel("tz.detect", kernel, [pixels])
    built = build(tvm.IRModule.from_expr(relay.Function([pixels], relay.Tuple(list(results)))))
    program, weights = program_of(built.get_graph_json(), frame, {})
    metadata = small_program.metadata(TARGET, frame, raw)
    return GraphEngine(built.get_lib(), program, ExternalBuffer.wrap(weights), metadata)


def operators(mod):
    """Names of the operators that ``main`` calls, in order."""
    names = []
    relay.analysis.post_order_visit(
        mod["main"].body, lambda e: names.append(e.op.name) if isinstance(e, relay.Call) else None
    )
    return names


def parameters(mod):
    """(name, dtype, number of axes) of ``main``'s parameters."""
    return [(p.name_hint, p.checked_type.dtype, len(p.checked_type.shape)) for p in mod["main"].params]


def results(mod):
    """(shape, dtype) of what ``main`` returns."""
    return [(tuple(int(side) for side in ty.shape), ty.dtype) for ty in mod["main"].ret_type.fields]


def preprocess_of(mod):
    """What the module's preprocess kernel does."""
    found = []
    relay.analysis.post_order_visit(mod["main"].body, lambda e: found.append(kernel_of(e)))
    (kernel,) = (f for f in found if f is not None)
    return Preprocess.from_json(str(kernel.attrs["tz.preprocess"]))


def assert_equal(mod, other):
    tvm.ir.assert_structural_equal(mod, relay.transform.InferType()(other))


def is_equal(mod, other):
    return tvm.ir.structural_equal(mod, other)
