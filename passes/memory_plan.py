"""Offsets of buffers with known lifetimes inside one workspace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register (AVX-512)


@dataclass(frozen=True)
class Lifetime:
    """A buffer of ``nbytes`` that is in use from step ``first`` to step ``last``, both included."""

    nbytes: int
    first: int
    last: int

    def overlaps(self, other: Lifetime) -> bool:
        """True if some step needs both."""
        return self.first <= other.last and other.first <= self.last


def align_up(nbytes: int, alignment: int = ALIGNMENT) -> int:
    """The next multiple of ``alignment``."""
    return -(-nbytes // alignment) * alignment


def plan_offsets(lifetimes: Sequence[Lifetime], alignment: int = ALIGNMENT) -> tuple[list[int], int]:
    """Place every buffer so that no two that are in use at the same step share a byte.

    Greedy by size for offset calculation: the largest first, each into the smallest gap that fits among the placed
    buffers whose lifetimes overlap its own (Y. Pisarchyk, J. Lee, "Efficient Memory Management for Deep Neural Net
    Inference", 2020, arXiv:2001.03288, algorithm 3).

    Parameters
    ----------
    lifetimes : sequence of Lifetime
    alignment : int
        Of every offset, in bytes.

    Returns
    -------
    offsets : list of int
        In bytes, in the order of ``lifetimes``.
    total : int
        Bytes of the workspace.
    """
    offsets = [0] * len(lifetimes)
    placed: list[int] = []
    total = 0
    for index in sorted(range(len(lifetimes)), key=lambda i: (-lifetimes[i].nbytes, lifetimes[i].first)):
        wanted = lifetimes[index]
        neighbours = sorted((i for i in placed if lifetimes[i].overlaps(wanted)), key=lambda i: offsets[i])
        best, best_gap, end = None, None, 0
        for other in neighbours:
            gap = offsets[other] - end
            if gap >= wanted.nbytes and (best_gap is None or gap < best_gap):
                best, best_gap = end, gap
            end = max(end, align_up(offsets[other] + lifetimes[other].nbytes, alignment))
        offsets[index] = end if best is None else best
        placed.append(index)
        total = max(total, offsets[index] + wanted.nbytes)
    return offsets, align_up(total, alignment)
