"""TopK's kernels. Each value becomes a 64-bit key: its order in the upper half, its place in the lower.

Keys are unique, so that equal values stay in their order, as in onnxruntime.
"""

import operator

from .block_reduce import GROUPS, TRIPS, block_reduce, strided, with_bit
from .detection_head.script import T, sblock
from .detection_head.select import DIGITS, digit

SIGN = 0x80000000
ALL = 0xFFFFFFFF
THREADS = 320  # of a block on a GPU


def order(value, dtype: str, largest: bool):
    """A uint32 that is the greater the sooner the float32 or int32 value comes."""
    if dtype == "int32":
        up = T.bitwise_xor(T.reinterpret("uint32", value), T.uint32(SIGN))
    else:
        bits = T.reinterpret("uint32", value)
        negative = T.shift_right(bits, T.uint32(31)) == T.uint32(1)
        up = T.bitwise_xor(bits, T.Select(negative, T.uint32(ALL), T.uint32(SIGN)))
        up = T.Select(value == T.float32(0), T.uint32(SIGN), up)  # -0.0 equals 0.0
    return up if largest else T.bitwise_xor(up, T.uint32(ALL))


def place_key(value, place, dtype: str, largest: bool):
    """A uint64: the value's order in the upper half, a place in the lower."""
    upper = T.shift_left(T.Cast("uint64", order(value, dtype, largest)), T.uint64(32))
    return T.bitwise_or(upper, T.Cast("uint64", place))


def topk_kernel(rows: int, size: int, k: int, dtype: str, index_dtype: str, largest: bool):
    """Kernel ``(data, values, indices, keys, spare, digits)`` for a CPU: three stable passes of a radix sort, linear.

    ``data`` is ``(rows, size)`` float32 or int32; ``values`` and ``indices`` are ``(rows, k)``, best first. Workspaces:
    ``keys`` and ``spare`` ``(rows, size)`` uint64, ``digits`` ``(rows, 3 * DIGITS)`` int32.
    """

    def key(value, place):
        return place_key(value, place, dtype, largest)

    @T.prim_func(private=True, s_tir=True)
    def topk(
        data: T.Buffer((rows, size), dtype),
        values: T.Buffer((rows, k), dtype),
        indices: T.Buffer((rows, k), index_dtype),
        keys: T.Buffer((rows, size), "uint64"),
        spare: T.Buffer((rows, size), "uint64"),
        digits: T.Buffer((rows, 3 * DIGITS), "int32"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True, "op_pattern": 8})
        with sblock("root"):
            T.reads()
            T.writes()
            for r in T.parallel(rows):
                start = T.alloc_buffer((2,), "int32", scope="global")
                for d in T.serial(3 * DIGITS):
                    digits[r, d] = 0
                for j in T.serial(size):
                    keys[r, j] = key(data[r, j], j)
                    for place in T.unroll(3):
                        digits[r, place * DIGITS + digit(keys[r, j], place)] += 1
                for place in T.serial(3):
                    start[0] = 0
                    for d in T.serial(DIGITS):
                        start[1] = digits[r, place * DIGITS + d]
                        digits[r, place * DIGITS + d] = start[0]
                        start[0] = start[0] + start[1]
                for j in T.serial(size):
                    start[0] = digit(keys[r, j], 0)
                    spare[r, digits[r, start[0]]] = keys[r, j]
                    digits[r, start[0]] = digits[r, start[0]] + 1
                for j in T.serial(size):
                    start[0] = DIGITS + digit(spare[r, j], 1)
                    keys[r, digits[r, start[0]]] = spare[r, j]
                    digits[r, start[0]] = digits[r, start[0]] + 1
                for j in T.serial(size):
                    start[0] = 2 * DIGITS + digit(keys[r, j], 2)
                    spare[r, digits[r, start[0]]] = keys[r, j]
                    digits[r, start[0]] = digits[r, start[0]] + 1
                for j in T.serial(k):
                    start[0] = T.Cast("int32", T.bitwise_and(spare[r, j], T.uint64(ALL)))
                    values[r, j] = data[r, start[0]]
                    indices[r, j] = T.Cast(index_dtype, start[0])

    return topk


def gpu_topk_kernel(rows: int, size: int, k: int, dtype: str, index_dtype: str, largest: bool):
    """Kernel ``(data, values, indices, keys, chosen)`` for a GPU: what ``topk_kernel`` gives, with a block a row.

    The block finds the least key that belongs to the ``k`` greatest, bit by bit from the highest on; a chosen key's
    place is the number of greater ones. Workspaces: ``keys`` ``(rows, size)`` and ``chosen`` ``(rows, k)`` uint64.
    """
    place_bits = max(1, (size - 1).bit_length())
    steps = 0 if k == size else 32 + place_bits

    def key(value, place):
        return place_key(value, size - 1 - place, dtype, largest)

    def mine(t, total):
        return strided(t, total, THREADS)

    @T.prim_func(private=True, s_tir=True)
    def topk(
        data: T.Buffer((rows, size), dtype),
        values: T.Buffer((rows, k), dtype),
        indices: T.Buffer((rows, k), index_dtype),
        keys: T.Buffer((rows, size), "uint64"),
        chosen: T.Buffer((rows, k), "uint64"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True, "op_pattern": 8})
        with sblock("root"):
            T.reads()
            T.writes()
            for r in T.thread_binding(rows, thread="blockIdx.x"):
                for t in T.thread_binding(THREADS, thread="threadIdx.x"):
                    part = T.alloc_buffer((THREADS,), "int32", scope="shared")
                    parts = T.alloc_buffer((GROUPS,), "int32", scope="shared")
                    own = T.alloc_buffer((1,), "int32", scope="local")
                    whole = T.alloc_buffer((1,), "int32", scope="local")
                    bit = T.alloc_buffer((1,), "int32", scope="local")
                    place = T.alloc_buffer((1,), "int32", scope="local")
                    least = T.alloc_buffer((1,), "uint64", scope="local")

                    for i in T.serial(mine(t, size)):
                        keys[r, i * THREADS + t] = key(data[r, i * THREADS + t], i * THREADS + t)
                    least[0] = T.uint64(0)
                    bit[0] = -1 if k == size else 63
                    with T.attr(T.int32(steps), TRIPS, steps):
                        while bit[0] >= 0:
                            own[0] = 0
                            for i in T.serial(mine(t, size)):
                                if keys[r, i * THREADS + t] >= with_bit(least[0], bit[0]):
                                    own[0] = own[0] + 1
                            block_reduce(operator.add, own, part, parts, whole, t)
                            if whole[0] >= k:
                                least[0] = with_bit(least[0], bit[0])
                            bit[0] = T.Select(bit[0] == 32, place_bits, bit[0]) - 1

                    # the chosen ones next to each other, after those of the threads before
                    own[0] = 0
                    for i in T.serial(mine(t, size)):
                        if keys[r, i * THREADS + t] >= least[0]:
                            own[0] = own[0] + 1
                    part[t] = own[0]  # read last before block_reduce's second barrier
                    T.tvm_storage_sync("shared")
                    place[0] = 0
                    for other in T.serial(t):
                        place[0] = place[0] + part[other]
                    for i in T.serial(mine(t, size)):
                        if keys[r, i * THREADS + t] >= least[0]:
                            chosen[r, place[0]] = keys[r, i * THREADS + t]
                            place[0] = place[0] + 1
                    T.tvm_storage_sync("shared")

                    for i in T.serial(mine(t, k)):
                        place[0] = 0
                        for j in T.serial(k):
                            if chosen[r, j] > chosen[r, i * THREADS + t]:
                                place[0] = place[0] + 1
                        own[0] = size - 1 - T.Cast("int32", T.bitwise_and(chosen[r, i * THREADS + t], T.uint64(ALL)))
                        values[r, place[0]] = data[r, own[0]]
                        indices[r, place[0]] = T.Cast(index_dtype, own[0])

    return topk
