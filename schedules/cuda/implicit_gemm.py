"""A convolution as a matrix product: pixels times (input channels, window) times output channels.

The matrix of the pixels' windows is never stored: what a block of threads needs of it is gathered into shared memory,
chunk by chunk. Rows are the output's pixels in memory order, columns its channels, and the reduction runs over (channel
block, window row, window column, channel in the block), so that a block's channels are one stretch of memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import tirx

from .base import inline_producers


@dataclass(frozen=True)
class Gemm:
    """Extents of the product.

    ``chunked``: the reduction's innermost axis is a block of channels (of pixels, in a first layer that reads those);
    else elements are read singly. ``stretch``: elements that are sure to be one stretch of memory, padding or not.
    """

    rows: int
    columns: int
    depth: int
    chunked: bool
    stretch: int

    @classmethod
    def of(cls, sch, block) -> Gemm:
        extents = [int(var.dom.extent) for var in sch.get(block).iter_vars]
        n, oc, h, w, co = extents[:5]
        chunked = len(extents) == 9
        stretch = int(sch.get(block).reads[0].source.shape[-1]) if chunked else 1
        return cls(n * h * w, oc * co, int(np.prod(extents[5:])), chunked, stretch)

    @property
    def has_all_axes(self) -> bool:
        """False for a product of one row (a convolution that gives one pixel) or one step: `as_matrix_product` leaves
        out axes of one element, and one that is not there cannot be padded to a tile."""
        return self.rows > 1 and self.depth > 1


def as_matrix_product(sch, block, tile) -> None:
    """Turns the convolution into C[m, n] += A[c, m, k] * B[c, k, n]: c is a chunk of the reduction and k a step of it.

    Padded with zeros to multiples of ``tile`` (m, n, k). What it reads and writes goes through stages of those shapes,
    for the caller to place or inline. Where channels are not in blocks the reduction is one axis: A[m, k] * B[k, n].
    """
    extents = [int(var.dom.extent) for var in sch.get(block).iter_vars]
    rows, columns = (0, 2, 3), (1, 4)  # numbers of n h w, oc co; then come ic kh kw ci
    chunks, steps = ((5, 6, 7), (8,)) if len(extents) == 9 else ((), (5, 6, 7))
    chunked = [chunks] if chunks else []

    def fused(numbers, indices):
        place = None
        for number in numbers:
            if extents[number] > 1:
                place = indices[number] if place is None else place * extents[number] + indices[number]
        return tirx.IntImm("int64", 0) if place is None else place

    def matrix(stage, *sides):
        """From the axes of a stage's tensor to the ``sides``; axes of one element say nothing and may be left out."""
        numbers = sorted(number for side in sides for number in side if extents[number] > 1)
        shape = [int(var.dom.extent) for var in sch.get(stage).iter_vars]
        axes = [axis for axis, extent in enumerate(shape) if extent > 1]

        def place(*indices):
            named = {number: indices[axis] for number, axis in zip(numbers, axes)}
            return [fused(side, named) for side in sides]

        return tirx.IndexMap.from_func(place, ndim=len(shape))

    a = sch.reindex(block, ("read", 0))
    b = sch.reindex(block, ("read", 1))
    c = sch.reindex(block, ("write", 0))
    sch.transform_layout(a, ("write", 0), matrix(a, *chunked, rows, steps))
    sch.transform_layout(b, ("write", 0), matrix(b, *chunked, steps, columns))
    sch.transform_layout(c, ("read", 0), matrix(c, rows, columns))

    def product(*indices):
        named = dict(enumerate(indices))
        return [fused(side, named) for side in (rows, columns, *chunked, steps)]

    sch.transform_block_layout(block, tirx.IndexMap.from_func(product, ndim=len(extents)))
    sch.pad_einsum(block, [tile[0], tile[1], *(1 for _ in chunked), tile[2]])


def inline_consumers(sch, block) -> None:
    """Moves every stage behind ``block`` into it, so that it stores the kernel's results."""
    while True:
        inlined = False
        for consumer in sch.get_consumers(block):
            try:
                sch.reverse_compute_inline(consumer)
                inlined = True
                break
            except (tvm.s_tir.ScheduleError, RuntimeError):
                continue
        if not inlined:
            return


__all__ = ["Gemm", "as_matrix_product", "inline_consumers", "inline_producers"]
