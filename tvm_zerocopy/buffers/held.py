"""A program's run on buffers that are checked and held while it runs."""

from __future__ import annotations


class HeldRun:
    """One call of a program on the caller's buffers; a subclass's ``_call`` makes it.

    Calling it raises BufferError if a buffer was freed, moved by its owner or is held by the host.
    """

    def __init__(self, inputs, outputs):
        self._checked = (*inputs, *outputs)
        self._holds = tuple(buffer.for_device() for buffer in self._checked)

    def _call(self) -> None:
        raise NotImplementedError

    def __call__(self) -> None:
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
