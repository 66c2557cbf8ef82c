"""Convolution in float16 with float32 sums on tensor cores: an implicit matrix product of 16 x 16 x 16 tiles (wmma).

Chunk by chunk of the reduction a block of threads brings both operands into shared memory; each warp multiplies its
part of the tile from there. The sums go through shared memory to threads that apply bias, activation and residual in
float32 and store the result as vectors.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..cpu.base import Rule, find_block, inline_epilogue, schedule_of
from . import wmma
from .conv2d import is_plain
from .implicit_gemm import Gemm, as_matrix_product, inline_consumers, inline_producers
from .machine import machine_of
from .wmma import SIDE

WARP = 32  # threads
VECTOR = 8  # float16 of one load
PADDING = 8  # float16 between rows in shared memory, so that rows do not start in the same bank


@dataclass(frozen=True)
class Tile:
    """A block's tile in warps along pixels and channels, and a warp's part of it in tiles of 16 x 16."""

    row_warps: int
    column_warps: int
    warp_rows: int
    warp_columns: int

    @property
    def rows(self) -> int:
        return self.row_warps * self.warp_rows * SIDE

    @property
    def columns(self) -> int:
        return self.column_warps * self.warp_columns * SIDE

    @property
    def warps(self) -> int:
        return self.row_warps * self.column_warps


# From large (few loads an operation) to small (many blocks, for pictures of few pixels). Operands and results of the
# largest fill 40 of the 48 KiB of shared memory that a block has.
TILES = (
    Tile(2, 2, 4, 2), Tile(2, 1, 4, 2), Tile(4, 2, 2, 2), Tile(2, 2, 2, 2), Tile(4, 1, 2, 2), Tile(2, 1, 2, 2),
    Tile(1, 2, 2, 2), Tile(4, 1, 2, 1), Tile(2, 1, 2, 1), Tile(2, 1, 1, 1),
)  # fmt: skip


class Conv2dWmma(Rule):
    """Kernels that hold a ``conv2d_nchwc`` block of one group whose operands are float16, on sm_70 and later."""

    tunable = True

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        name = find_block(sch, "conv2d_nchwc")
        if name is None or not machine_of(target).tensor_cores or not is_plain(sch, name):
            return None
        block = sch.get(sch.get_sblock(name))
        if {str(read.source.dtype) for read in block.reads} != {"float16"}:
            return None
        gemm = Gemm.of(sch, sch.get_sblock(name))
        if not gemm.has_all_axes:
            return None
        tiles = [tile for tile in TILES if gemm.columns % tile.columns == 0]
        if not tuning:
            return _schedule(sch, name, best_tile(gemm, tiles, machine_of(target)), gemm)
        return [_schedule(schedule_of(func), name, tile, gemm) for tile in tiles]


def best_tile(gemm, tiles, machine):
    """The tile of the least time by a simple account: what the busiest processor computes, loads per operation."""

    def cost(tile):
        blocks = -(-gemm.rows // tile.rows) * (gemm.columns // tile.columns)
        turns = -(-blocks // machine.processors)
        loads = (tile.rows + tile.columns) / (tile.rows * tile.columns) * 32  # of memory, for each operation
        warps = min(16, tile.warps * turns)  # that hide each other's waiting
        return turns * tile.rows * tile.columns * (1 + loads) * (16 / warps) ** 0.5

    return min(tiles, key=cost)


def _schedule(sch, name, tile, gemm):
    conv = sch.get_sblock(name)
    epilogue = inline_epilogue(sch, conv)
    if epilogue is not None:
        inline_producers(sch, epilogue)  # a residual's conversion to float32
    as_matrix_product(sch, conv, (tile.rows, tile.columns, SIDE))

    # tiles of tensor cores, then a warp's, then a block's
    m, n, *reduction = sch.get_loops(conv)
    m, m_inner = sch.split(m, [None, SIDE])
    n, n_inner = sch.split(n, [None, SIDE])
    k, k_inner = sch.split(reduction[-1], [None, SIDE])
    chunk = sch.fuse(reduction[0], k) if gemm.chunked else k
    sch.reorder(m, n, chunk, m_inner, n_inner, k_inner)
    outer = sch.blockize(m_inner)
    chunk, part = sch.split(chunk, [None, 1])
    row_block, row_warp, row = sch.split(m, [None, tile.row_warps, tile.warp_rows])
    column_block, column_warp, column = sch.split(n, [None, tile.column_warps, tile.warp_columns])
    sch.reorder(row_block, column_block, row_warp, column_warp, chunk, part, row, column)
    warp = sch.fuse(row_warp, column_warp)
    sch.bind(row_block, "blockIdx.x")
    sch.bind(column_block, "blockIdx.y")
    sch.bind(warp, "threadIdx.y")
    sch.unroll(row)
    sch.unroll(column)

    # the operands: memory to shared memory, a warp after the other, to fragments
    for index, scope in ((0, "wmma.matrix_a"), (1, "wmma.matrix_b")):
        shared = sch.cache_read(outer, index, "shared")
        sch.compute_at(shared, chunk)
        inline_producers(sch, shared)
        sch.storage_align(shared, 0, axis=-2, factor=SIDE, offset=PADDING)
        lanes = min(gemm.stretch, VECTOR) if index == 0 else VECTOR
        _spread(sch, sch.fuse(*sch.get_loops(shared)[-2:]), tile.warps, lanes)
        fragment = sch.cache_read(outer, index, scope)
        sch.compute_at(fragment, part)
        _tensorize(sch, fragment, wmma.LOAD_A if index == 0 else wmma.LOAD_B)

    # the results: fragments to shared memory, and from there by vectors of the channels
    out = sch.cache_write(outer, 0, "shared")
    store = sch.cache_write(outer, 0, "wmma.accumulator")
    sch.reverse_compute_at(store, warp)
    sch.reverse_compute_at(out, warp)
    inline_consumers(sch, out)
    _tensorize(sch, store, wmma.STORE)
    init = sch.decompose_reduction(outer, chunk)
    sch.tensorize(sch.get_loops(sch.get_child_blocks(init)[0])[-2], wmma.FILL)
    sch.tensorize(sch.get_loops(sch.get_child_blocks(sch.get_sblock(name + "_o_update"))[0])[-3], wmma.MULTIPLY)
    fused = sch.fuse(*sch.get_loops(out)[-2:])
    _, thread, lane = sch.split(fused, [None, WARP, VECTOR // 2])
    sch.bind(thread, "threadIdx.x")
    sch.vectorize(lane)
    return sch


def _spread(sch, loop, warps, lanes):
    _, warp, thread, *lane = sch.split(loop, [None, warps, WARP, *([lanes] if lanes > 1 else [])])
    sch.bind(warp, "threadIdx.y")
    sch.bind(thread, "threadIdx.x")
    for vector in lane:
        sch.vectorize(vector)


def _tensorize(sch, block, intrinsic):
    """Tiles of 16 x 16 of a stage become one instruction of a warp each."""
    i, j = sch.get_loops(block)[-2:]
    i_outer, i_inner = sch.split(i, [None, SIDE])
    j_outer, j_inner = sch.split(j, [None, SIDE])
    sch.reorder(i_outer, j_outer, i_inner, j_inner)
    sch.unroll(i_outer)
    sch.unroll(j_outer)
    sch.tensorize(i_inner, intrinsic)
