"""Shapes of the accumulator tile that stays in vector registers through a whole reduction."""

from __future__ import annotations

from .base import divisors


def oc_tiles(out_blocks: int):
    """How many vectors of output channels a tile may have."""
    return [tile for tile in (1, 2, 4) if out_blocks % tile == 0]


def pixel_tiles(pixels: int, oc_tile: int, registers: int):
    """How many pixels (or Winograd tiles) a tile with ``oc_tile`` vectors may have: divisors that fit the registers.

    Besides the accumulators, LLVM keeps one weight vector and, where several weight vectors use them, all the
    broadcast inputs of a step; one register too few and it spills accumulators.
    """
    return [d for d in divisors(pixels, registers) if oc_tile * d + (d if oc_tile > 1 else 1) + 1 <= registers] or [1]


def best_tile(out_blocks: int, pixels: int, registers: int, accumulators: int = 32):
    """(oc_tile, pixel_tile): the most pixels for which loading operands does not hold up the multiply-adds.

    A step of the reduction loads oc_tile weight vectors and broadcasts pixel_tile inputs for oc_tile * pixel_tile
    multiply-adds; a core loads as many vectors a cycle as it multiplies, so that anything well below one load a
    multiply-add will do. The more pixels a weight is used for, the less of the weights' traffic from the second-level
    cache is felt, which is what remains. ``accumulators`` limits the tile further.
    """

    def rank(shape):
        oc_tile, pixel_tile = shape
        loads = (oc_tile + pixel_tile) / (oc_tile * pixel_tile)
        enough = loads <= 0.7 and oc_tile * pixel_tile >= 8
        return enough, pixel_tile if enough else -loads, oc_tile

    shapes = [(oc, d) for oc in oc_tiles(out_blocks) for d in pixel_tiles(pixels, oc, registers)]
    return max([shape for shape in shapes if shape[0] * shape[1] <= accumulators], key=rank)
