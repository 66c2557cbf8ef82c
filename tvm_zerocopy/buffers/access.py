"""Who may touch a buffer now, the host or the compiled program, and what must be waited for at each change of hands."""

from __future__ import annotations

import threading

from ..errors import BufferError
from . import cuda
from .memory import Memory

HOST, CPU = -1, -2  # holders that are no CUDA stream: the host's own code, a program's kernels on the CPU


class Access:
    """The state of one buffer: idle, held by the host, or held by the program.

    Several holders of one side may overlap; the two sides never do. Work submitted to a stream may still run after the
    program lets go: the next host holder waits for it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._holders = []  # HOST, CPU, or the handle of a CUDA stream

    @property
    def busy(self) -> bool:
        """True while either side holds the buffer."""
        return bool(self._holders)

    def take_for_host(self, memory: Memory) -> None:
        """Raise BufferError if the program holds the buffer; else wait for its submitted work, then hand it over."""
        self._take_on_cpu(memory, HOST)

    def take_for_program(self, memory: Memory) -> None:
        """Raise BufferError if the host holds the buffer; else let kernels on the CPU have it, as the host would."""
        self._take_on_cpu(memory, CPU)

    def take_for_stream(self, memory: Memory, handle: int) -> None:
        """Raise BufferError if the host holds the buffer; else let the CUDA stream's kernels have it."""
        with self._lock:
            self._refuse_other_side(memory, handle)
            alone = all(other == handle for other in self._holders)
            memory.submissions().follow(handle)
            if _changes_hands(memory.root) and not (self._holders and alone):
                cuda.runtime().attach_to_stream(memory.root.address, handle, alone)
            self._holders.append(handle)

    def release(self, holder: int) -> None:
        """End a hold of HOST or CPU."""
        with self._lock:
            self._holders.remove(holder)

    def release_stream(self, memory: Memory, handle: int) -> None:
        """End a hold of a stream; what was submitted to it may go on."""
        with self._lock:
            self._holders.remove(handle)
            if handle not in self._holders:
                memory.submissions().mark(handle)

    def synchronize(self, memory: Memory) -> None:
        """Wait until the work submitted so far is done."""
        with self._lock:
            self._wait(memory.root)

    def lend(self, memory: Memory, wait: bool = True) -> None:
        """Make ready for kernels of others, on streams that nobody tells; after submitted work, if ``wait``.

        Raises
        ------
        BufferError
            If the host holds memory that host and kernels cannot have at the same time.
        """
        if wait:
            self.synchronize(memory)
        if _changes_hands(memory.root):
            self.take_for_stream(memory, cuda.DEFAULT_STREAM)
            self.release_stream(memory, cuda.DEFAULT_STREAM)

    def _take_on_cpu(self, memory: Memory, holder: int) -> None:
        with self._lock:
            self._refuse_other_side(memory, holder)
            self._wait(memory.root)
            if _is_exclusive(memory) and not memory.root.attachable:
                cuda.runtime().synchronize_device(memory.device_id)  # any of the device's kernels may use it
            self._holders.append(holder)

    def _refuse_other_side(self, memory: Memory, holder: int) -> None:
        for other in self._holders:
            if other == holder or (other >= 0 and holder >= 0):
                continue
            if other == HOST:
                raise BufferError(
                    "the host is using this buffer (a capture is writing it?); run after its for_host() block has ended"
                )
            if holder == HOST or _is_exclusive(memory):
                raise BufferError(
                    "the compiled program is using this buffer; wait until its for_device() block has ended"
                )

    def _wait(self, root: Memory) -> None:
        if root.submitted:
            root.submitted.wait()
            if _changes_hands(root) and not self._holders:
                cuda.runtime().attach_to_host(root.address, root.device_id)


def _is_exclusive(memory: Memory) -> bool:
    """True for managed memory on a device where host and kernels must not have it at the same time (Tegra)."""
    return memory.kind == "managed" and not cuda.runtime().host_may_touch_managed_while_kernels_run(memory.device_id)


def _changes_hands(root: Memory) -> bool:
    """True for such memory where it is ours to say who has it now: what others allocated stays as they left it."""
    return root.attachable and _is_exclusive(root)


class Hold:
    """A ``with`` block during which one side holds a buffer; made by `ExternalBuffer.for_host` and ``for_device``."""

    def __init__(self, take, value, release):
        self._take, self._value, self._release = take, value, release

    def __enter__(self):
        self._take()
        return self._value()

    def __exit__(self, *_):
        self._release()
