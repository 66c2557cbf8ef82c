"""What `CopyAudit` finds: every buffer and every move of bytes from frame to boxes, with its reason."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

# Why the bytes are there, or move. The first five are memory; the others are kernels that only move.
REASONS = {
    "input": "the caller's frame",
    "output": "the results",
    "weights": "the model's parameters",
    "intermediate": "a result that a later kernel reads",
    "scratch": "memory that one kernel needs while it runs",
    "layout change": "the same elements in another order or shape",
    "concat": "several tensors into one",
    "split": "a part of a tensor",
    "pad": "a tensor with a border",
    "upsample": "elements repeated",
    "convert": "the same elements in another dtype",
    "copy": "the same elements, the same order",
    "transfer": "the same elements, between host and device memory",
    "fill": "one value, written over a buffer",
}
# What happens with them.
ACTIONS = {
    "in place": "read or written where it is; nothing is allocated or copied",
    "planned": "at a fixed place in memory that is allocated once, when the engine is made",
    "pooled": "from a pool that the runtime fills on the first frame and keeps",
    "allocated": "allocated for each frame",
    "copied": "moved to another place for each frame, by a kernel or copy engine that does nothing else",
}


@dataclass(frozen=True)
class CopyRow:
    """One buffer, or one kernel that moves bytes.

    Attributes
    ----------
    what : str
        The tensor's or kernel's name.
    reason : str
        A key of ``REASONS``.
    action : str
        A key of ``ACTIONS``.
    bytes : int or None
        Of the buffer, or written by the kernel. None: depends on the size of the frame.
    """

    what: str
    reason: str
    action: str
    bytes: int | None

    def __post_init__(self):
        assert self.reason in REASONS and self.action in ACTIONS, self


@dataclass(frozen=True)
class CopyReport:
    """The rows, in the order of execution."""

    rows: tuple[CopyRow, ...]

    def where(self, action: str) -> list[CopyRow]:
        """The rows with one action."""
        return [row for row in self.rows if row.action == action]

    def totals(self) -> dict:
        """For each action: ``{"count": rows, "bytes": sum of the sizes known at compile time}``."""
        return {
            action: {"count": len(self.where(action)), "bytes": sum(row.bytes or 0 for row in self.where(action))}
            for action in ACTIONS
        }

    def to_dict(self) -> dict:
        return {"rows": [dataclasses.asdict(row) for row in self.rows], "totals": self.totals()}

    def to_json(self) -> str:
        return json.dumps(self.to_dict())

    @classmethod
    def from_dict(cls, fields: dict) -> CopyReport:
        """The report that `to_dict` made (``totals`` are computed again)."""
        return cls(tuple(CopyRow(**row) for row in fields["rows"]))

    def to_table(self) -> str:
        """One line a row, and one an action, for people."""
        lines = [("what", "reason", "action", "bytes")]
        lines += [(row.what, row.reason, row.action, _bytes(row.bytes)) for row in self.rows]
        for action, total in self.totals().items():
            lines.append((f"total {action}", f"{total['count']} rows", "", _bytes(total["bytes"])))
        widths = [max(len(line[column]) for line in lines) for column in range(4)]
        return "\n".join(
            "  ".join([*(cell.ljust(width) for cell, width in zip(line, widths[:3])), line[3].rjust(widths[3])])
            for line in lines
        )


def _bytes(count: int | None) -> str:
    return "by frame size" if count is None else f"{count:,}"
