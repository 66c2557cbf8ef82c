"""Small GPU kernels whose counts are known by hand."""

import tvm
from tvm import s_tir, te


def dense(size: int = 64, dtype: str = "float32"):
    a = te.placeholder((size, size), dtype, name="a")
    b = te.placeholder((size, size), dtype, name="b")
    k = te.reduce_axis((0, size), "k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="dense")
    return te.create_prim_func([a, b, c])


def naive(size: int = 64, threads: int = 16):
    """A thread an output, operands straight from global memory."""
    sch = s_tir.Schedule(tvm.IRModule({"main": dense(size)}))
    i, j, _ = sch.get_loops(sch.get_sblock("dense"))
    _bind(sch, *sch.split(i, [None, threads]), "y")
    _bind(sch, *sch.split(j, [None, threads]), "x")
    outer_i, inner_i, outer_j, inner_j, k = sch.get_loops(sch.get_sblock("dense"))
    sch.reorder(outer_i, outer_j, inner_i, inner_j, k)
    return sch


def tiled(size: int = 64, tile: int = 16):
    """The textbook's: a block a tile of the output, both operands by tiles through shared memory."""
    sch = s_tir.Schedule(tvm.IRModule({"main": dense(size)}))
    block = sch.get_sblock("dense")
    i, j, k = sch.get_loops(block)
    outer_i, inner_i = sch.split(i, [None, tile])
    outer_j, inner_j = sch.split(j, [None, tile])
    outer_k, inner_k = sch.split(k, [None, tile])
    sch.reorder(outer_i, outer_j, inner_i, inner_j, outer_k, inner_k)
    _bind(sch, outer_i, inner_i, "y")
    _bind(sch, outer_j, inner_j, "x")
    for operand in (0, 1):
        copy = sch.cache_read(block, operand, "shared")
        sch.compute_at(copy, outer_k)
        first, second = sch.get_loops(copy)[-2:]
        sch.bind(first, "threadIdx.y")
        sch.bind(second, "threadIdx.x")
    result = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(result, inner_j)
    return sch


def transposed(size: int = 32, padding: int = 0):
    """A tile written by rows and read by columns of shared memory: all lanes on one bank, unless rows are padded."""
    a = te.placeholder((size, size), name="a")
    t = te.compute((size, size), lambda i, j: a[j, i], name="transposed")
    sch = s_tir.Schedule(tvm.IRModule({"main": te.create_prim_func([a, t])}))
    block = sch.get_sblock("transposed")
    i, j = sch.get_loops(block)
    outer, i = sch.split(i, [None, size])
    sch.bind(outer, "blockIdx.x")
    copy = sch.cache_read(block, 0, "shared")
    sch.compute_at(copy, outer)
    sch.bind(j, "threadIdx.x")
    sch.bind(sch.get_loops(copy)[-1], "threadIdx.x")
    if padding:
        sch.storage_align(copy, 0, -2, size, padding)
    return sch


def _bind(sch, outer, inner, axis):
    sch.bind(outer, f"blockIdx.{axis}")
    sch.bind(inner, f"threadIdx.{axis}")
