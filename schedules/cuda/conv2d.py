"""Convolution in float32 on CUDA cores: an implicit matrix product with tiles in shared memory and registers.

A block of threads computes a tile of pixels times output channels. Chunk by chunk of the reduction it brings both
operands into shared memory; each thread keeps its part of the tile in registers, and at the end applies bias,
activation and residual to it there and stores it once.
"""

from __future__ import annotations

from dataclasses import dataclass

from tvm import tirx
from tvm.tirx.analysis import undefined_vars

from ..cpu.base import Rule, find_block, inline_epilogue, schedule_of
from .implicit_gemm import Gemm, as_matrix_product, inline_consumers, inline_producers
from .machine import machine_of

CHUNK = 16  # steps of the reduction in shared memory at a time: one block of channels
UNROLLED = 4  # steps in a row: 256 multiply-adds of the largest tile are 4 KiB of code, a third of Volta's first cache
VECTOR = 4  # float32 of one load


@dataclass(frozen=True)
class Tile:
    """A block's tile, and a thread's part of it: ``rows`` pixels times ``columns`` channels."""

    rows: int
    columns: int
    thread_rows: int
    thread_columns: int

    @property
    def threads(self) -> int:
        return self.rows // self.thread_rows * (self.columns // self.thread_columns)


# From large (few loads an operation) to small (many blocks, for pictures of few pixels).
TILES = (
    Tile(128, 64, 8, 8), Tile(64, 64, 8, 4), Tile(128, 32, 8, 4), Tile(64, 32, 4, 4), Tile(32, 64, 4, 4),
    Tile(128, 16, 4, 4), Tile(64, 16, 4, 2), Tile(32, 32, 4, 2),
)  # fmt: skip


class Conv2d(Rule):
    """Kernels that hold a ``conv2d_nchwc`` block of one group."""

    tunable = True

    def apply(self, func, target, tuning=False):
        sch = schedule_of(func)
        name = find_block(sch, "conv2d_nchwc")
        if name is None or not is_plain(sch, name):
            return None
        gemm = Gemm.of(sch, sch.get_sblock(name))
        tiles = [tile for tile in TILES if gemm.has_all_axes and gemm.columns % tile.columns == 0]
        if not tiles:
            return None
        if not tuning:
            return _schedule(sch, name, best_tile(gemm, tiles, machine_of(target)), gemm)
        return [_schedule(schedule_of(func), name, tile, gemm, tuning=True) for tile in tiles]


def best_tile(gemm, tiles, machine):
    """The tile of the least time by a simple account: what the busiest processor computes, loads per operation."""

    def cost(tile):
        blocks = -(-gemm.rows // tile.rows) * (gemm.columns // tile.columns)
        per_processor = -(-blocks // machine.processors) * tile.rows * tile.columns
        # a step takes one load of shared memory for each row and column of a thread's part, a quarter where vectors do
        loads = (tile.thread_rows + tile.thread_columns) / (tile.thread_rows * tile.thread_columns)
        warps = min(8, tile.threads // 32 * max(1, -(-blocks // machine.processors)))
        return per_processor * (1 + loads) * (8 / warps) ** 0.5

    return min(tiles, key=cost)


def is_plain(sch, name) -> bool:
    """False for grouped convolutions, whose input channels depend on the output's."""
    block = sch.get(sch.get_sblock(name))
    output_channel = block.iter_vars[1].var
    used = [v for r in block.reads[0].region for v in undefined_vars(tirx.Evaluate(r.min), [])]
    return not any(output_channel.same_as(variable) for variable in used)


def _schedule(sch, name, tile, gemm, tuning=False):
    conv = sch.get_sblock(name)
    inline_epilogue(sch, conv)
    as_matrix_product(sch, conv, (tile.rows, tile.columns, CHUNK))
    out = sch.cache_write(conv, 0, "local")

    # the tile
    m, n, *reduction = sch.get_loops(conv)
    chunk, step = reduction if len(reduction) == 2 else sch.split(reduction[0], [None, CHUNK])
    vector = min(VECTOR, tile.thread_columns)
    row_block, row_thread, row = sch.split(m, [None, tile.rows // tile.thread_rows, tile.thread_rows])
    column_block, column_thread, run, column = sch.split(
        n, [None, tile.columns // tile.thread_columns, tile.thread_columns // vector, vector]
    )
    turn, step = sch.split(step, [None, UNROLLED])
    sch.reorder(row_block, column_block, row_thread, column_thread, chunk, turn, step, row, run, column)
    sch.bind(row_block, "blockIdx.x")
    sch.bind(column_block, "blockIdx.y")
    threads = sch.fuse(row_thread, column_thread)
    sch.bind(threads, "threadIdx.x")
    for loop in (step, row, run):
        sch.unroll(loop)
    sch.vectorize(column)

    # the operands: pixels' channels are read as vectors and stored transposed, weights as they are
    for index, transposed in ((0, True), (1, False)):
        shared = sch.cache_read(conv, index, "shared")
        sch.compute_at(shared, chunk, preserve_unit_loops=True)
        inline_producers(sch, shared)
        rows, columns = sch.get_loops(shared)[-2:]
        if transposed:
            sch.transform_layout(shared, ("write", 0), lambda *place: (*place[:-2], place[-1], place[-2]))
        lanes = min(gemm.stretch, VECTOR) if transposed else VECTOR
        if transposed:  # neighbouring threads take neighbouring pixels: their stores fall into different banks
            outer, lane = sch.split(columns, [None, lanes])
            sch.reorder(outer, rows, lane)
            fused = sch.fuse(outer, rows)
        else:
            fused, lane = sch.split(sch.fuse(rows, columns), [None, lanes])
        turn, thread = sch.split(fused, [None, tile.threads])
        sch.bind(thread, "threadIdx.x")
        if lanes > 1:
            sch.vectorize(lane)
        sch.unroll(turn)

    # the results
    sch.reverse_compute_at(out, threads, preserve_unit_loops=True)
    inline_consumers(sch, out)  # after it has its place, which would forget that rows of the padding are not stored
    *_, rows, columns = sch.get_loops(out)
    run, column = sch.split(columns, [None, vector])
    sch.unroll(rows)
    sch.unroll(run)
    sch.vectorize(column)
    sch.decompose_reduction(conv, chunk)
    return sch
