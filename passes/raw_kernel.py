"""Kernels as the host function calls them: raw pointers and integers in, a status out, no memory of their own."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import tirx
from tvm.ir import PointerType, PrimType

from .memory_plan import align_up


@dataclass(frozen=True)
class RawKernel:
    """A kernel over pointers.

    Attributes
    ----------
    func : tirx.PrimFunc
        ``int32 func(pointers of the buffer parameters and scalars in their order, sizes..., temporaries...)``.
    params : list of tirx.Var
        The original parameters: buffers and scalars.
    sizes : list of tirx.Var
        The variables of the buffers' shapes and strides, passed explicitly.
    temporaries : list of int
        Bytes of each buffer that the kernel needs while it runs.
    """

    func: tirx.PrimFunc
    params: list[tirx.Var]
    sizes: list[tirx.Var]
    temporaries: list[int]


def is_buffer(param: tirx.Var) -> bool:
    """True if the parameter is a buffer and not a scalar."""
    return isinstance(param.ty, tirx.BufferType)


def pointer_to(buffer: tirx.Buffer, name: str) -> tirx.Var:
    """A pointer variable with the element type and memory scope of a buffer's data."""
    return tirx.Var(name, PointerType(PrimType(str(buffer.dtype)), buffer.scope()))


def make_raw(func: tirx.PrimFunc) -> RawKernel:
    """Give a scheduled kernel raw pointers instead of tensors.

    Buffers that the kernel allocates outside its loops (a padded input, Winograd tiles) become pointer parameters too,
    so that the caller plans their memory with everything else. What is allocated inside a parallel loop stays there.
    """
    sizes = _size_variables(func)
    body, temporaries = take_temporaries(func.body)
    params, declarations = [], []
    for param in func.params:
        if is_buffer(param):
            pointer = pointer_to(param, param.name)
            params.append(pointer)
            declarations.append(tirx.DeclBuffer(param, data=pointer))
        else:
            params.append(param)
    params += sizes
    for buffer in temporaries:
        pointer = pointer_to(buffer, buffer.name)
        params.append(pointer)
        declarations.append(tirx.DeclBuffer(buffer, data=pointer))
    body = tirx.SeqStmt([*declarations, body, tirx.Return(tirx.IntImm("int32", 0))])
    attrs = {key: value for key, value in func.attrs.items() if key != "global_symbol"}
    raw = tirx.PrimFunc(params, body, PrimType("int32"), attrs=tvm.ir.make_node("ir.DictAttrs", **attrs))
    return RawKernel(raw, list(func.params), sizes, [buffer_bytes(buffer) for buffer in temporaries])


def buffer_bytes(buffer: tirx.Buffer) -> int:
    """Bytes of a dense buffer with a static shape, rounded up to the workspace's alignment."""
    count = 1
    for extent in buffer.shape:
        count *= int(extent)
    return align_up(count * dtype_bytes(str(buffer.dtype)))


def dtype_bytes(dtype: str) -> int:
    """Bytes of one element."""
    parsed = tvm.DataType(dtype)
    return (parsed.bits * parsed.lanes + 7) // 8


def _size_variables(func: tirx.PrimFunc) -> list[tirx.Var]:
    found: dict[tirx.Var, None] = {}
    for param in filter(is_buffer, func.params):
        for expression in (*param.shape, *param.strides, param.elem_offset):
            if expression is not None and not isinstance(expression, tirx.IntImm):
                found.update(dict.fromkeys(tirx.analysis.undefined_vars(tirx.Evaluate(expression), func.params)))
    return list(found)


def take_temporaries(body):
    """A scheduled function's body without the buffers that it allocates outside its loops, and those buffers."""
    if not isinstance(body, tvm.s_tir.SBlockRealize):
        return body, []
    block = body.block
    taken = [buffer for buffer in block.alloc_buffers if _is_plannable(buffer)]
    kept = [buffer for buffer in block.alloc_buffers if not _is_plannable(buffer)]
    inner = block.body
    if isinstance(inner, tirx.SeqStmt):
        found = [s for s in inner.seq if isinstance(s, tirx.AllocBuffer) and _is_plannable(s.buffer)]
        taken += [statement.buffer for statement in found]
        inner = tirx.SeqStmt([s for s in inner.seq if not any(s.same_as(statement) for statement in found)])
    root = tvm.s_tir.SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        inner,
        block.init,
        kept,
        block.match_buffers,
        block.annotations,
    )
    return tvm.s_tir.SBlockRealize(body.iter_values, body.predicate, root), taken


def _is_plannable(buffer: tirx.Buffer) -> bool:
    return buffer.scope() in ("", "global") and all(isinstance(extent, tirx.IntImm) for extent in buffer.shape)
