"""How the preprocess kernel runs: rows over the CPU's cores, or a GPU thread for each output pixel."""

import dataclasses

from tvm import tir

from tvm_zerocopy.specs import Frame, Preprocess

from ..preprocess_kernel import frame_tensors, preprocess_kernel
from .frame_descriptor import take_descriptors
from .tir_operator import without_blocks

BY_ADDRESS = "tz.by_address"  # attribute of kernels whose frame comes by descriptors: how many
TABLE_THREADS = 64  # of a block that fills a table
ROWS = 8  # of a block of pixels; a warp takes neighbours in one row, so that its stores are whole lines


def scheduled_kernel(
    frame: Frame,
    preprocess: Preprocess,
    height: int,
    width: int,
    dtype: str,
    by_address: bool = False,
    gpu: bool = False,
) -> tir.PrimFunc:
    """The preprocess kernel, scheduled; ``by_address``: its frame comes by descriptors."""
    if not by_address:
        frame = dataclasses.replace(frame, pitch=None)
    schedule = tir.Schedule(preprocess_kernel(frame, preprocess, height, width, dtype))
    (_gpu if gpu else _cpu)(schedule)
    kernel = schedule.mod["main"]
    if not by_address:
        return kernel
    tensors = len(frame_tensors(frame).shapes)
    return take_descriptors(without_blocks(kernel), tensors).with_attr(BY_ADDRESS, tensors)


def _cpu(sch: tir.Schedule) -> None:
    """Rows in parallel, a tile's arithmetic as vectors."""
    batch, row, _, pixel = sch.get_loops(sch.get_block("pixel"))
    sch.parallel(sch.fuse(batch, row))
    sch.vectorize(pixel)


def _gpu(sch: tir.Schedule) -> None:
    """``schedules.cuda.preprocess`` for Relay: a launch for the table of taps, then a thread an output pixel."""
    (position,) = sch.get_loops(sch.get_block("taps"))
    block, thread = sch.split(position, [None, TABLE_THREADS])
    sch.bind(block, "blockIdx.x")
    sch.bind(thread, "threadIdx.x")
    for block in sch.get_child_blocks(sch.get_block("root")):
        if sch.get(block).name_hint == "geometry":  # of a size known at run time only: a launch of one thread
            sch.bind(sch.add_unit_loop(block), "threadIdx.x")

    batch, row, tile, _ = sch.get_loops(sch.get_block("pixel"))
    row_block, row_thread = sch.split(row, [None, ROWS])
    sch.reorder(batch, row_block, tile, row_thread)
    sch.bind(batch, "blockIdx.z")
    sch.bind(row_block, "blockIdx.y")
    sch.bind(tile, "blockIdx.x")
    sch.bind(row_thread, "threadIdx.y")
    for name in ("gather", "pixel"):
        sch.bind(sch.get_loops(sch.get_block(name))[-1], "threadIdx.x")
    sch.set_scope(sch.get_block("gather"), 0, "local")
