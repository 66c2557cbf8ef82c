"""Where every value of Relax's main lives: which buffer, at which byte."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .raw_kernel import dtype_bytes


class Storage:
    """A buffer, or a block inside a larger one.

    Attributes
    ----------
    kind : {"input", "output", "weights", "workspace"}
        Of the outermost buffer: who owns it.
    key : int or bytes or None
        Number of the input or output; what identifies the constant.
    nbytes : int or None
        None: an input of any size.
    """

    def __init__(self, kind: str, nbytes: int | None, name: str, key=None):
        self.kind, self.nbytes, self.name, self.key = kind, nbytes, name, key
        self._parent: tuple[Storage, int] | None = None

    def resolve(self) -> tuple[Storage, int]:
        """The outermost storage and the byte at which this one starts in it."""
        storage, offset = self, 0
        while storage._parent is not None:
            storage, step = storage._parent
            offset += step
        return storage, offset

    def place_in(self, parent: Storage, offset: int) -> None:
        """From now on this storage is the block of ``parent`` that starts at ``offset``."""
        self._parent = (parent, offset)

    @property
    def is_free(self) -> bool:
        """True if it can still be placed inside another storage or an output."""
        return self._parent is None and self.kind == "workspace"


@dataclass(frozen=True)
class View:
    """A dense tensor at a byte offset of a storage."""

    storage: Storage
    offset: int
    shape: tuple[Any, ...]
    dtype: str

    def resolve(self) -> tuple[Storage, int]:
        """The outermost storage and the tensor's first byte in it."""
        root, offset = self.storage.resolve()
        return root, offset + self.offset

    @property
    def nbytes(self) -> int | None:
        """Bytes of the tensor; None if its size is known only at run time."""
        count = dtype_bytes(self.dtype)
        for extent in self.shape:
            if not isinstance(extent, int):
                return None
            count *= extent
        return count
