"""Tensor cores' instructions on 16 x 16 tiles (wmma m16n16k16, float16 with float32 sums) as TVM's tensor intrinsics.

The same instructions as ``tvm.s_tir.tensor_intrin``'s, under names of their own: importing that module parses some
hundred kernels, which takes longer than compiling a network.
"""

from __future__ import annotations

import functools

from tvm.s_tir import TensorIntrin
from tvm.script import tirx as T

SIDE = 16  # of a tile; the wmma scopes count buffers in whole tiles
LOAD_A, LOAD_B, FILL, MULTIPLY, STORE = (
    "tz_wmma_" + name for name in ("load_a", "load_b", "fill", "multiply", "store")
)


@functools.lru_cache(maxsize=None)
def register() -> None:
    """Makes the intrinsics known to ``Schedule.tensorize``."""
    TensorIntrin.register(LOAD_A, _copy("float16", "shared", "wmma.matrix_a"), _load("wmma.matrix_a"))
    TensorIntrin.register(LOAD_B, _copy("float16", "shared", "wmma.matrix_b"), _load("wmma.matrix_b"))
    TensorIntrin.register(FILL, *_fill())
    TensorIntrin.register(MULTIPLY, *_multiply())
    TensorIntrin.register(STORE, _copy("float32", "wmma.accumulator", "shared"), _store())


def _number(buffer, stride):
    """Of a buffer's tile that an element offset lies in."""
    row, column = buffer.elem_offset // stride, buffer.elem_offset % stride
    return row // SIDE * (stride // SIDE) + column // SIDE


def _copy(dtype, source, target):
    @T.prim_func(s_tir=True)
    def copy(a: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (SIDE, SIDE), dtype, align=64, offset_factor=SIDE, scope=source)
        C = T.match_buffer(c, (SIDE, SIDE), dtype, align=64, offset_factor=SIDE, scope=target)
        with T.sblock("root"):
            T.reads(A[0:SIDE, 0:SIDE])
            T.writes(C[0:SIDE, 0:SIDE])
            for i, j in T.grid(SIDE, SIDE):
                with T.sblock("copy"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = A[vi, vj]

    return copy


def _load(scope):
    @T.prim_func(s_tir=True)
    def load(a: T.handle, c: T.handle) -> None:
        a1, a0, c1, c0 = T.int32(), T.int32(), T.int32(), T.int32()
        A = T.match_buffer(a, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope="shared", strides=[a1, a0])
        C = T.match_buffer(c, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope=scope, strides=[c1, c0])
        with T.sblock("root"):
            T.reads(A[0:SIDE, 0:SIDE])
            T.writes(C[0:SIDE, 0:SIDE])
            T.evaluate(
                T.tvm_load_matrix_sync(
                    C.data, SIDE, SIDE, SIDE, _number(C, c1), A.access_ptr("r", ptr_type="float16"), a1, "row_major",
                    dtype="void",
                )
            )  # fmt: skip

    return load


def _store():
    @T.prim_func(s_tir=True)
    def store(a: T.handle, c: T.handle) -> None:
        a1, a0, c1, c0 = T.int32(), T.int32(), T.int32(), T.int32()
        A = T.match_buffer(
            a, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope="wmma.accumulator", strides=[a1, a0]
        )
        C = T.match_buffer(c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope="shared", strides=[c1, c0])
        with T.sblock("root"):
            T.reads(A[0:SIDE, 0:SIDE])
            T.writes(C[0:SIDE, 0:SIDE])
            T.evaluate(
                T.tvm_store_matrix_sync(
                    A.data, SIDE, SIDE, SIDE, _number(A, a1), C.access_ptr("w", ptr_type="float32"), c1, "row_major",
                    dtype="void",
                )
            )  # fmt: skip

    return store


def _fill():
    @T.prim_func(s_tir=True)
    def zeros(c: T.handle) -> None:
        C = T.match_buffer(c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope="wmma.accumulator")
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:SIDE, 0:SIDE])
            for i, j in T.grid(SIDE, SIDE):
                with T.sblock("init"):
                    vi, vj = T.axis.remap("SS", [i, j])
                    C[vi, vj] = T.float32(0)

    @T.prim_func(s_tir=True)
    def fill(c: T.handle) -> None:
        c1, c0 = T.int32(), T.int32()
        C = T.match_buffer(
            c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope="wmma.accumulator", strides=[c1, c0]
        )
        with T.sblock("root"):
            T.reads()
            T.writes(C[0:SIDE, 0:SIDE])
            T.evaluate(T.tvm_fill_fragment(C.data, SIDE, SIDE, SIDE, _number(C, c1), T.float32(0), dtype="void"))

    return zeros, fill


def _multiply():
    @T.prim_func(s_tir=True)
    def product(a: T.handle, b: T.handle, c: T.handle) -> None:
        A = T.match_buffer(a, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope="wmma.matrix_a")
        B = T.match_buffer(b, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope="wmma.matrix_b")
        C = T.match_buffer(c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope="wmma.accumulator")
        with T.sblock("root"):
            T.reads(C[0:SIDE, 0:SIDE], A[0:SIDE, 0:SIDE], B[0:SIDE, 0:SIDE])
            T.writes(C[0:SIDE, 0:SIDE])
            for i, j, k in T.grid(SIDE, SIDE, SIDE):
                with T.sblock(""):
                    vi, vj, vk = T.axis.remap("SSR", [i, j, k])
                    C[vi, vj] = C[vi, vj] + T.Cast("float32", A[vi, vk]) * T.Cast("float32", B[vk, vj])

    @T.prim_func(s_tir=True)
    def multiply(a: T.handle, b: T.handle, c: T.handle) -> None:
        a1, a0, b1, b0, c1, c0 = T.int32(), T.int32(), T.int32(), T.int32(), T.int32(), T.int32()
        A = T.match_buffer(
            a, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope="wmma.matrix_a", strides=[a1, a0]
        )
        B = T.match_buffer(
            b, (SIDE, SIDE), "float16", align=64, offset_factor=SIDE, scope="wmma.matrix_b", strides=[b1, b0]
        )
        C = T.match_buffer(
            c, (SIDE, SIDE), "float32", align=64, offset_factor=SIDE, scope="wmma.accumulator", strides=[c1, c0]
        )
        with T.sblock("root"):
            T.reads(C[0:SIDE, 0:SIDE], A[0:SIDE, 0:SIDE], B[0:SIDE, 0:SIDE])
            T.writes(C[0:SIDE, 0:SIDE])
            T.evaluate(
                T.tvm_mma_sync(
                    C.data, _number(C, c1), A.data, _number(A, a1), B.data, _number(B, b1), C.data, _number(C, c1),
                    dtype="void",
                )
            )  # fmt: skip

    return product, multiply
