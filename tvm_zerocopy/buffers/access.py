"""Who may touch a buffer now, the host or the compiled program, and what must be waited for at each change of hands."""

from __future__ import annotations

import threading

from ..errors import BufferError
from . import cuda
from .memory import CUDA_VISIBLE, Memory


class Access:
    """The state of one buffer: idle, held by the host, or held by the device (for host memory: by the program).

    Several holders of one side may overlap; the two sides never do. Work submitted to a stream may still run after the
    device side lets go: the next host holder waits for it.
    """

    def __init__(self):
        self._lock = threading.Lock()
        self._holders = {"host": 0, "device": 0}
        self._stream = None  # of the device work that the host has not waited for yet

    @property
    def busy(self) -> bool:
        """True while either side holds the buffer."""
        return any(self._holders.values())

    def take_for_host(self, memory: Memory) -> None:
        """Raise BufferError if the program holds the buffer; else wait for its submitted work, then hand it over."""
        with self._lock:
            if self._holders["device"]:
                raise BufferError(
                    "the compiled program is using this buffer; wait until its for_device() block has ended"
                )
            self._wait(memory)
            self._holders["host"] += 1

    def take_for_device(self, memory: Memory, stream) -> None:
        """Raise BufferError if the host holds the buffer; else let the stream's kernels have it."""
        with self._lock:
            if self._holders["host"]:
                raise BufferError(
                    "the host is using this buffer (a capture is writing it?); run after its for_host() block has ended"
                )
            if memory.kind in CUDA_VISIBLE or stream is not None:
                handle = cuda.stream_handle(stream)
                if self._stream not in (None, handle):
                    cuda.runtime().synchronize(self._stream)  # two streams: the second starts after the first
                if _is_exclusive(memory) and not self._holders["device"]:
                    cuda.runtime().attach_to_stream(memory.address, handle)
                self._stream = handle
            self._holders["device"] += 1

    def release(self, side: str) -> None:
        with self._lock:
            self._holders[side] -= 1

    def synchronize(self, memory: Memory) -> None:
        """Wait until the work submitted so far is done."""
        with self._lock:
            self._wait(memory)

    def _wait(self, memory: Memory) -> None:
        if self._stream is None:
            return
        if _is_exclusive(memory):
            cuda.runtime().attach_to_host(memory.address, self._stream)
        else:
            cuda.runtime().synchronize(self._stream)
        self._stream = None


def _is_exclusive(memory: Memory) -> bool:
    """True for managed memory on a device where host and kernels must not have it at the same time (Tegra)."""
    return memory.kind == "managed" and not cuda.runtime().host_may_touch_managed_while_kernels_run(memory.device_id)


class Hold:
    """A ``with`` block during which one side holds a buffer; made by `ExternalBuffer.for_host` and ``for_device``."""

    def __init__(self, access: Access, side: str, take, value):
        self._access, self._side, self._take, self._value = access, side, take, value

    def __enter__(self):
        self._take()
        return self._value()

    def __exit__(self, *_):
        self._access.release(self._side)
