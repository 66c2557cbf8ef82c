"""A span of memory and whoever keeps it alive; released when the last buffer, view and binding of it is gone."""

from __future__ import annotations

import mmap
import operator

import numpy as np

from ..errors import BufferError
from . import cuda

KINDS = ("host", "pinned", "mapped", "managed", "device")
HOST_VISIBLE = ("host", "pinned", "mapped", "managed")
CUDA_VISIBLE = ("mapped", "managed", "device")  # presented to kernels as CUDA memory, at the same address


class Memory:
    """``nbytes`` bytes at ``address``, kept alive by ``owner``.

    Views hold this object, never the other way round, so Python's reference counts decide when the memory goes.
    """

    def __init__(self, address, nbytes, kind="host", device_id=0, writable=True, owner=None, locate=None):
        if kind not in KINDS:
            raise BufferError(f"memory kind is {kind!r}; it must be one of {', '.join(KINDS)}")
        if not address:
            raise BufferError("the memory's address is null")
        self.address = int(address)
        self.nbytes = int(nbytes)
        self.kind = kind
        self.device_id = device_id
        self.writable = writable
        self.owner = owner
        self.locate = locate  # asks the owner where its memory is now, if it can move
        self._whole = None  # that this is a part of
        self.submitted = None  # of the whole: cuda.Submitted, once a stream has used it
        self.attachable = False  # managed memory whose stream association is ours to change

    @property
    def root(self) -> Memory:
        """The whole that this is a part of, or itself."""
        return self._whole or self

    def submissions(self) -> cuda.Submitted:
        """Work on streams that uses the memory; it is waited for before the memory goes back to its owner."""
        root = self.root
        if root.submitted is None:
            root.submitted = cuda.Submitted(root.device_id)
            cuda.at_end(root, root.submitted.wait)  # before what was registered earlier: giving the memory back
        return root.submitted

    def check_place(self) -> None:
        """Raise BufferError if the owner has moved its memory (a resized tensor) since it was wrapped."""
        if self.locate is not None and self.locate() != self.address:
            raise BufferError(
                "the wrapped tensor has moved its memory (resized or reassigned) since it was wrapped; wrap it again"
            )

    def part(self, offset: int, nbytes: int) -> Memory:
        """A span inside this one, which it keeps alive."""
        locate = None if self.locate is None else lambda: self.locate() + offset
        part = Memory(self.address + offset, nbytes, self.kind, self.device_id, self.writable, self, locate)
        part._whole = self.root
        return part


def allocate_host(nbytes: int, alignment: int) -> Memory:
    """Zeroed host memory at a multiple of ``alignment`` bytes (a power of two)."""
    if not hasattr(alignment, "__index__") or alignment <= 0 or alignment & (alignment - 1):
        raise BufferError(f"alignment is {alignment!r}; it must be a power of two, such as 64, or 'page'")
    alignment = operator.index(alignment)
    try:
        if alignment == mmap.PAGESIZE:
            pages = mmap.mmap(-1, nbytes)
            return Memory(np.frombuffer(pages, np.uint8).ctypes.data, nbytes, owner=pages)
        block = np.zeros(nbytes + alignment, np.uint8)
    except (MemoryError, OSError, OverflowError, ValueError) as error:
        raise BufferError(f"{nbytes:,} bytes of host memory cannot be had ({error})") from error
    return Memory(block.ctypes.data + -block.ctypes.data % alignment, nbytes, owner=block)


def allocate_cuda(kind: str, nbytes: int, device_id: int) -> Memory:
    """Memory from the CUDA runtime, given back to it when the last user is gone.

    Raises
    ------
    UnsupportedError
        If the bindings or the GPU are missing, or CUDA refuses.
    """
    runtime = cuda.runtime()
    address = runtime.allocate(kind, nbytes, device_id)
    memory = Memory(address, nbytes, kind, device_id)
    memory.attachable = kind == "managed"
    cuda.at_end(memory, runtime.release, kind, address)
    return memory
