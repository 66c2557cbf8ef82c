"""The few CUDA runtime calls that buffers need, through NVIDIA's own bindings, loaded on first use.

``cuda-bindings`` (CUDA 12 and later) offers them as ``cuda.bindings.runtime``; ``cuda-python`` 11.8 (CUDA 11, Python
3.8: JetPack 5) as ``cuda.cudart``. Both have the same functions, each returning a tuple that starts with the error.
"""

from __future__ import annotations

import functools
import importlib

from ..errors import UnsupportedError

MODULES = ("cuda.bindings.runtime", "cuda.cudart")
NO_BINDINGS = (
    "CUDA memory needs NVIDIA's Python bindings: pip install 'tvm-zerocopy[cuda]' "
    "(JetPack 5: pip install 'cuda-python<12')"
)

OUT_OF_MEMORY = "close other programs on the GPU, bind fewer engines, or compile a smaller batch or input"


class CudaRuntime:
    """Checked calls of one bindings module; every failure is an UnsupportedError naming the call and CUDA's reason."""

    def __init__(self, bindings):
        self._api = bindings
        self._concurrent = {}  # device -> may the host touch managed memory while kernels run

    def _call(self, name: str, *arguments):
        error, *results = getattr(self._api, name)(*arguments)
        if error != self._api.cudaError_t.cudaSuccess:
            _, text = self._api.cudaGetErrorString(error)
            reason = text.decode() if isinstance(text, bytes) else str(text)
            if error == getattr(self._api.cudaError_t, "cudaErrorMemoryAllocation", None):
                raise UnsupportedError(f"{name} failed: {reason} ({self._asked(arguments)}); {OUT_OF_MEMORY}")
            raise UnsupportedError(f"{name} failed: {reason}; `tvm-zerocopy doctor` shows what this machine can do")
        return results[0] if results else None

    def _asked(self, arguments) -> str:
        """How much memory was asked for, and how much there is."""
        asked = f"{arguments[0]} bytes were asked for" if arguments else "the GPU is full"
        error, *memory = self._api.cudaMemGetInfo()
        if error != self._api.cudaError_t.cudaSuccess:
            return asked
        free, total = map(int, memory)
        return f"{asked}, {free} of the GPU's {total} are free"

    def arch(self, device_id: int = 0) -> str:
        """A device's architecture, for example ``sm_72``."""
        names = ("cudaDevAttrComputeCapabilityMajor", "cudaDevAttrComputeCapabilityMinor")
        attributes = [getattr(self._api.cudaDeviceAttr, name) for name in names]
        return "sm_" + "".join(str(self._call("cudaDeviceGetAttribute", what, device_id)) for what in attributes)

    def _on_device(self, device_id: int, name: str, *arguments) -> int:
        current = self._call("cudaGetDevice")
        self._call("cudaSetDevice", device_id)
        try:
            return int(self._call(name, *arguments))
        finally:
            self._call("cudaSetDevice", current)

    def host_may_touch_managed_while_kernels_run(self, device_id: int) -> bool:
        """False on Xavier and other Tegra: there managed memory must be attached to the host before it is touched."""
        if device_id not in self._concurrent:
            attribute = self._api.cudaDeviceAttr.cudaDevAttrConcurrentManagedAccess
            self._concurrent[device_id] = bool(self._call("cudaDeviceGetAttribute", attribute, device_id))
        return self._concurrent[device_id]

    def allocate(self, kind: str, nbytes: int, device_id: int) -> int:
        """Address of ``nbytes`` new bytes of ``kind`` ("pinned", "mapped", "managed" or "device").

        Raises
        ------
        UnsupportedError
            If CUDA refuses, or mapped memory has another address on the device than on the host.
        """
        if kind == "device":
            return self._on_device(device_id, "cudaMalloc", nbytes)
        if kind == "managed":
            # Attached to the host at first, so that a camera can fill it while kernels of another frame run.
            concurrent = self.host_may_touch_managed_while_kernels_run(device_id)
            flag = self._api.cudaMemAttachGlobal if concurrent else self._api.cudaMemAttachHost
            return self._on_device(device_id, "cudaMallocManaged", nbytes, flag)
        flags = self._api.cudaHostAllocPortable | (self._api.cudaHostAllocMapped if kind == "mapped" else 0)
        address = self._on_device(device_id, "cudaHostAlloc", nbytes, flags)
        if kind == "mapped":
            on_device = int(self._call("cudaHostGetDevicePointer", address, 0))
            if on_device != address:
                self.release(kind, address)
                raise UnsupportedError(
                    f"mapped memory lies at {address:#x} on the host and {on_device:#x} on the device: this GPU has no "
                    "unified addressing; use kind='managed'"
                )
        return address

    def release(self, kind: str, address: int) -> None:
        """Give memory made by `allocate` back."""
        self._call("cudaFree" if kind in ("managed", "device") else "cudaFreeHost", address)

    def copy(self, destination: int, source: int, nbytes: int) -> None:
        """Copy between any two kinds of memory and wait for it; for what happens once, such as uploading weights."""
        self._call("cudaMemcpy", destination, source, nbytes, self._api.cudaMemcpyKind.cudaMemcpyDefault)
        # From pageable memory cudaMemcpy returns once the bytes are staged, and streams that do not wait for the
        # default one could read too early (CUDA Runtime API, "API synchronization behavior").
        self.synchronize(0)

    def create_stream(self) -> int:
        """A new stream that does not wait for the default one."""
        return int(self._call("cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back; its submitted work is done first."""
        self._call("cudaStreamDestroy", stream)

    def begin_capture(self, stream: int) -> None:
        """From now on this thread's submissions to the stream are recorded and not run."""
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """What was recorded, as a graph to launch."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return int(self._call("cudaGraphInstantiateWithFlags", graph, 0))
        finally:
            self._call("cudaGraphDestroy", graph)

    def launch_graph(self, graph: int, stream: int) -> None:
        """Submit everything that was recorded, at once."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)

    def is_managed(self, address: int) -> bool:
        """True if CUDA knows the address as managed memory (shared by host and device)."""
        attributes = self._call("cudaPointerGetAttributes", address)
        return attributes.type == self._api.cudaMemoryType.cudaMemoryTypeManaged

    def synchronize(self, stream: int) -> None:
        """Wait until everything submitted to the stream (0: the default stream) is done."""
        self._call("cudaStreamSynchronize", stream)

    def attach_to_host(self, address: int, stream: int) -> None:
        """Managed memory on devices without concurrent access: from the stream to the host; waits for the stream."""
        self._call("cudaStreamAttachMemAsync", stream, address, 0, self._api.cudaMemAttachHost)
        self._call("cudaStreamSynchronize", stream)

    def attach_to_stream(self, address: int, stream: int) -> None:
        """The way back. The default stream knows no private memory, so there it is attached to all streams."""
        flag = self._api.cudaMemAttachSingle if stream else self._api.cudaMemAttachGlobal
        self._call("cudaStreamAttachMemAsync", stream, address, 0, flag)


@functools.lru_cache(maxsize=None)
def runtime() -> CudaRuntime:
    """The machine's CUDA runtime.

    Raises
    ------
    UnsupportedError
        If the bindings are not installed.
    """
    for name in MODULES:
        try:
            return CudaRuntime(importlib.import_module(name))
        except ImportError:
            continue
    raise UnsupportedError(NO_BINDINGS)


def stream_handle(stream) -> int:
    """The integer handle of a stream: an int, None (the default stream), or a stream of cuda-core, torch or CuPy."""
    if stream is None:
        return 0
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for attribute in ("cuda_stream", "ptr"):
        if hasattr(stream, attribute):
            return int(getattr(stream, attribute))
    return int(stream)
