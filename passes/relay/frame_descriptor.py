"""A frame by its address: any size, row pitch and alignment in a Relay program, whose tensors have none of these.

Where the frame's own tensor would be a parameter of ``main``, a descriptor is: an int64 vector ``(address, shape...,
strides...)``, strides in elements. Its first eight bytes are where a DLTensor has its data pointer, which is how the
kernel reads it. On the CPU the kernel refuses a descriptor of another tensor than it reads. On a GPU the address is
read by the host, which launches the kernels, and extents and strides by their threads: a descriptor there is memory
that both see (``kind="mapped"``), and nothing is refused.
"""

import re
from typing import Dict, List, Tuple

from tvm import tir

from tvm_zerocopy.specs import YUV_420, Frame

from .tir_operator import uses_gpu_threads

DATA_POINTER = 1  # tvm::tir::builtin::kArrData


def descriptor_length(axes: int) -> int:
    """Elements of the descriptor of a tensor with so many axes."""
    return 1 + 2 * axes


def describe(buffer) -> List[int]:
    """The descriptor of a buffer with ``address``, ``shape``, and ``strides`` in bytes."""
    size = buffer.dtype.itemsize
    return [buffer.address, *buffer.shape, *(stride // size for stride in buffer.strides)]


def take_descriptors(kernel: tir.PrimFunc, count: int) -> tir.PrimFunc:
    """The kernel with its first ``count`` tensors given by descriptors.

    Parameters
    ----------
    kernel : PrimFunc
        Without blocks. Variables that are an axis' extent or stride of those tensors are read from the descriptors;
        what else is said of extents and strides is asserted on the CPU. On a GPU the caller has checked it.
    """
    described: Dict[tir.Buffer, tir.Buffer] = {}
    addresses: List[Tuple[tir.Var, tir.PrimExpr]] = []
    sides: Dict[tir.Var, tir.PrimExpr] = {}
    body = kernel.body
    params, buffers = list(kernel.params), {}
    for position in range(count):
        buffer = kernel.buffer_map[params[position]]
        axes = len(buffer.shape)
        descriptor = tir.decl_buffer((descriptor_length(axes),), "int64", f"{buffer.name}_descriptor")
        params[position] = tir.Var(f"{buffer.name}_handle", "handle")
        buffers[params[position]] = descriptor
        data = tir.Var(f"{buffer.name}_data", buffer.data.type_annotation)
        address = tir.call_intrin("handle", "tir.tvm_struct_get", descriptor.data, 0, DATA_POINTER)
        addresses.append((data, address))
        described[buffer] = tir.decl_buffer((1,), buffer.dtype, buffer.name, data=data, data_alignment=1)
        for place, side in enumerate([*buffer.shape, *buffer.strides]):
            found = tir.BufferLoad(descriptor, [1 + place])
            if isinstance(side, tir.Var) and side not in sides:
                sides[side] = found
                continue
            field, axis = ("shape", "strides")[place // axes], place % axes
            holds = found == side
            if field == "strides":  # there is no step along an axis of one element
                holds = tir.any(holds, buffer.shape[axis] == 1)
            message = f"{buffer.name}.{field}[{axis}] must be {_written(side)}"
            body = tir.AssertStmt(holds, tir.StringImm(message), body)
    body = _given(_addressed(body, described), sides, uses_gpu_threads(kernel))
    for variable, value in reversed(addresses):
        body = tir.LetStmt(variable, value, body)
    for param in params[count:]:
        if param in kernel.buffer_map:
            buffers[param] = kernel.buffer_map[param]
    return tir.PrimFunc(params, body, kernel.ret_type, buffers, kernel.attrs)


def take_frame_size(kernel: tir.PrimFunc, frame: Frame, inputs: int) -> tir.PrimFunc:
    """The kernel with its two parameters after ``inputs`` tensors, the frame's height and width, from a descriptor."""
    params = list(kernel.params)
    height, width = params[inputs : inputs + 2]
    axes = len(frame.shapes(2, 2)[0]) + (frame.batch > 1)
    descriptor = tir.decl_buffer((descriptor_length(axes),), "int64", "frame_descriptor")
    first = 2 if frame.batch > 1 else 1
    rows, columns = (tir.BufferLoad(descriptor, [first + axis]) for axis in range(2))
    if frame.format in YUV_420 and not frame.planes:
        rows = tir.floordiv(rows * 2, 3)
    body = _given(kernel.body, {height: rows, width: columns}, uses_gpu_threads(kernel))
    handle = tir.Var("frame_handle", "handle")
    buffers = {**dict(kernel.buffer_map.items()), handle: descriptor}
    return tir.PrimFunc([*params[:inputs], handle, *params[inputs + 2 :]], body, kernel.ret_type, buffers, kernel.attrs)


def _written(side):
    """An extent or stride as people write it."""
    return re.sub(r"T\.int64\((\d+)\)", r"\1", str(side))


def _given(body, values, in_threads):
    """The body with values for variables, read once; on a GPU by each thread, for the host sees no tensor there."""
    if not in_threads:
        for variable, value in reversed(list(values.items())):
            body = tir.LetStmt(variable, value, body)
        return body
    unchecked = tir.stmt_functor.ir_transform(body, None, lambda node: node.body, ["tir.AssertStmt"])
    return tir.stmt_functor.substitute(unchecked, values)


def _addressed(body, described):
    """The body with loads of the described tensors from their flat memory."""

    def replace(node):
        if node.buffer not in described:
            return None
        strides = [tir.Cast("int64", stride) for stride in node.buffer.strides]
        offset = sum((tir.Cast("int64", i) * s for i, s in zip(node.indices, strides)), tir.IntImm("int64", 0))
        return tir.BufferLoad(described[node.buffer], [offset])

    return tir.stmt_functor.ir_transform(body, None, replace, ["tir.BufferLoad"])
