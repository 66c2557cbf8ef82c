"""What a GPU moved during a profile, kind by kind, as the table that ``audit`` prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ..passes.copy_report import CopyReport, CopyRow

FILL = "memset"
GRAPH = "CUDA graph, recorded whole"  # a launch of which the profile tells no kernels and no copies
_INSIDE = ("Device-to-Device", "Host-to-Host", "Array-to-Array", "Array-to-Device", "Device-to-Array")


@dataclass(frozen=True)
class GpuMove:
    """All moves of one kind.

    Attributes
    ----------
    operation : str
        "Host-to-Device", ... in Nsight Systems' words, or `FILL`.
    source, destination : str or None
        Kinds of memory ("pageable", "pinned", "device", "managed", ...) where the profile tells them.
    count : int
    bytes : int or None
        Of all; None if the report has times only.
    seconds : float or None
        Of all; None if the report has sizes only.
    """

    operation: str
    source: str | None
    destination: str | None
    count: int
    bytes: int | None
    seconds: float | None

    @property
    def name(self) -> str:
        if self.source is None or self.destination is None:
            return self.operation
        return f"{self.operation} ({self.source} to {self.destination})"

    @property
    def reason(self) -> str:
        """A key of `passes.copy_report.REASONS`."""
        if self.operation == FILL:
            return "fill"
        return "copy" if self.operation in _INSIDE else "transfer"


@dataclass(frozen=True)
class GpuKernel:
    """All launches of one kernel."""

    name: str
    count: int
    seconds: float


@dataclass(frozen=True)
class GpuMoves:
    """A profile's moves and kernels, most bytes and longest first, in ``frames`` frames."""

    moves: tuple
    kernels: tuple
    frames: int = 1

    @property
    def graphs(self) -> int:
        """Launches of CUDA graphs that were recorded whole: what they copy is not in `moves`."""
        return sum(kernel.count for kernel in self.kernels if kernel.name == GRAPH)

    def copy_report(self) -> CopyReport:
        """The table of ``audit``, a frame: one row for each kind of move, and its bytes."""
        sizes = [None if move.bytes is None else round(move.bytes / self.frames) for move in self.moves]
        rows = (CopyRow(move.name, move.reason, "copied", size) for move, size in zip(self.moves, sizes))
        return CopyReport(tuple(rows))

    def per_frame(self) -> list:
        """One dict for each kind of move: what, reason, action, count, bytes, milliseconds; the figures of a frame."""
        return [
            {
                "what": move.name,
                "reason": move.reason,
                "action": "copied",
                "count": move.count / self.frames,
                "bytes": None if move.bytes is None else move.bytes / self.frames,
                "milliseconds": None if move.seconds is None else move.seconds * 1e3 / self.frames,
            }
            for move in self.moves
        ]

    def to_dict(self) -> dict:
        return {
            "frames": self.frames,
            "graphs": self.graphs,
            "moves": [asdict(move) for move in self.moves],
            "kernels": [asdict(kernel) for kernel in self.kernels],
            "per_frame": self.per_frame(),
            "analysis": self.copy_report().to_dict(),
        }


def gpu_moves(rows, frames: int) -> GpuMoves:
    """Add single moves and launches up.

    Parameters
    ----------
    rows : iterable of GpuMove or GpuKernel
        Of any counts; those of one kind become one.
    """
    moves: dict = {}
    kernels: dict = {}
    for row in rows:
        if isinstance(row, GpuKernel):
            before = kernels.get(row.name, GpuKernel(row.name, 0, 0.0))
            kernels[row.name] = GpuKernel(row.name, before.count + row.count, before.seconds + row.seconds)
            continue
        key = (row.operation, row.source, row.destination)
        before = moves.get(key)
        if before is not None:
            row = GpuMove(
                *key, before.count + row.count, _sum(before.bytes, row.bytes), _sum(before.seconds, row.seconds)
            )
        moves[key] = row
    return GpuMoves(
        tuple(sorted(moves.values(), key=lambda move: (-(move.bytes or 0), -(move.seconds or 0)))),
        tuple(sorted(kernels.values(), key=lambda kernel: -kernel.seconds)),
        frames,
    )


def _sum(left, right):
    return None if left is None or right is None else left + right
