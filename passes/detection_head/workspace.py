"""Sizes of the candidate filter's chunks; known to the kernels on both sides of it."""

from dataclasses import dataclass

# Chunks are the unit of parallel work: few enough that joining them is nothing, enough for any CPU's cores.
CHUNKS = 32
# Predictions of a block on a GPU: few enough that eight SMs share a small head evenly.
THREADS = 128


@dataclass(frozen=True)
class Chunks:
    """``batch`` frames of ``rows`` predictions, each cut into ``count`` chunks of ``size`` (the last may be short)."""

    batch: int
    rows: int

    @property
    def size(self) -> int:
        return -(-self.rows // CHUNKS)

    @property
    def count(self) -> int:
        return -(-self.rows // self.size)

    @property
    def capacity(self) -> int:
        """Keys that all chunks of a frame have room for."""
        return self.size * self.count


@dataclass(frozen=True)
class ThreadBlocks(Chunks):
    """``Chunks`` for a GPU: a chunk is a block of threads, one a prediction."""

    @property
    def size(self) -> int:
        return THREADS
