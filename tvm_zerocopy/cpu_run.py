"""A run of the program on the CPU."""

from __future__ import annotations

from .buffers.held import HeldRun, as_host_memory


class Run(HeldRun):
    """One call of the program with its arguments made ready, so that calling it again makes nothing new.

    Parameters
    ----------
    function : callable
        The program's ``main`` or ``main_timed``.
    inputs, outputs : sequence of ExternalBuffer
        The caller's: checked and held while it runs.
    private : sequence of ExternalBuffer
        The function's other arguments.
    """

    def __init__(self, function, inputs, outputs, private):
        super().__init__(inputs, outputs)
        self._function = function
        self._arguments = tuple(as_host_memory(buffer).tensor() for buffer in (*inputs, *outputs, *private))

    def _call(self) -> None:
        self._function(*self._arguments)
