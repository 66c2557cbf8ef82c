"""A program's run on buffers that are checked and held while it runs."""

from __future__ import annotations

from ..threads import check_not_forked
from .external import ExternalBuffer


class HeldRun:
    """One call of a program on the caller's buffers; a subclass's ``_call`` makes it.

    Calling it raises BufferError if a buffer was freed, moved by its owner or is held by the host, and UnsupportedError
    in a process that was forked after a run. ``on_cuda``: the program runs on CUDA's default stream.
    """

    def __init__(self, inputs, outputs, on_cuda: bool = False):
        self._checked = (*inputs, *outputs)
        self._holds = tuple(b.for_device() if on_cuda else b.for_program() for b in self._checked)

    def _call(self) -> None:
        raise NotImplementedError

    def __call__(self) -> None:
        check_not_forked()
        taken = 0
        try:
            for buffer, hold in zip(self._checked, self._holds):
                buffer.check()
                hold.__enter__()
                taken += 1
            self._call()
        finally:
            while taken:
                taken -= 1
                self._holds[taken].__exit__(None, None, None)


def as_host_memory(buffer: ExternalBuffer) -> ExternalBuffer:
    """The same memory as a program on the CPU takes it: memory that CUDA and the host see, as host memory."""
    if buffer.kind == "host":
        return buffer
    return ExternalBuffer.from_pointer(
        buffer.address, buffer.shape, buffer.dtype, buffer.strides, writable=buffer.writable, owner=buffer
    )
