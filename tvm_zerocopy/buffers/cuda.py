"""The few CUDA runtime calls that buffers need, through NVIDIA's own bindings, loaded on first use.

``cuda-bindings`` (CUDA 12 and later) offers them as ``cuda.bindings.runtime``; ``cuda-python`` 11.8 (CUDA 11, Python
3.8: JetPack 5) as ``cuda.cudart``. Both have the same functions, each returning a tuple that starts with the error.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import weakref

from ..errors import UnsupportedError

MODULES = ("cuda.bindings.runtime", "cuda.cudart")
NO_BINDINGS = (
    "CUDA memory needs NVIDIA's Python bindings: pip install 'tvm-zerocopy[cuda]' "
    "(JetPack 5: pip install 'cuda-python<12')"
)

DEFAULT_STREAM = 0
DEFAULT_STREAMS = (DEFAULT_STREAM, 1, 2)  # cudaStreamLegacy, cudaStreamPerThread
OUT_OF_MEMORY = "close other programs on the GPU, bind fewer engines, or compile a smaller batch or input"


class CudaRuntime:
    """Checked calls of one bindings module; every failure is an UnsupportedError naming the call and CUDA's reason."""

    def __init__(self, bindings):
        self._api = bindings
        self._concurrent = {}  # device -> may the host touch managed memory while kernels run
        self._attaching = {}  # device -> stream on which memory goes to the host

    def _call(self, name: str, *arguments):
        results = self._results(name, *arguments)
        return results[0] if results else None

    def _results(self, name: str, *arguments) -> list:
        error, *results = getattr(self._api, name)(*arguments)
        if error != self._api.cudaError_t.cudaSuccess:
            self._api.cudaGetLastError()  # else whoever asks for the last error next takes this one for theirs
            _, text = self._api.cudaGetErrorString(error)
            reason = text.decode() if isinstance(text, bytes) else str(text)
            if error == getattr(self._api.cudaError_t, "cudaErrorMemoryAllocation", None):
                raise UnsupportedError(f"{name} failed: {reason} ({self._asked(arguments)}); {OUT_OF_MEMORY}")
            raise UnsupportedError(f"{name} failed: {reason}; `tvm-zerocopy doctor` shows what this machine can do")
        return results

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

    def driver(self) -> tuple[int, int]:
        """The CUDA version that the driver is of, for example (11, 4)."""
        version = int(self._call("cudaDriverGetVersion"))
        return version // 1000, version % 1000 // 10

    @contextlib.contextmanager
    def on_device(self, device_id: int):
        """Inside the block the device is this thread's current one; after it the one that was, whoever changed it."""
        before = int(self._call("cudaGetDevice"))
        if before != device_id:
            self._call("cudaSetDevice", device_id)
        try:
            yield
        finally:
            if int(self._call("cudaGetDevice")) != before:
                self._call("cudaSetDevice", before)

    def _address(self, device_id: int, name: str, *arguments) -> int:
        with self.on_device(device_id):
            return int(self._call(name, *arguments))

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
            return self._address(device_id, "cudaMalloc", nbytes)
        if kind == "managed":
            # Attached to the host at first, so that a camera can fill it while kernels of another frame run.
            concurrent = self.host_may_touch_managed_while_kernels_run(device_id)
            flag = self._api.cudaMemAttachGlobal if concurrent else self._api.cudaMemAttachHost
            return self._address(device_id, "cudaMallocManaged", nbytes, flag)
        flags = self._api.cudaHostAllocPortable | (self._api.cudaHostAllocMapped if kind == "mapped" else 0)
        address = self._address(device_id, "cudaHostAlloc", nbytes, flags)
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

    def create_stream(self, device_id: int = 0) -> int:
        """A new stream that does not wait for the default one."""
        return self._address(device_id, "cudaStreamCreateWithFlags", self._api.cudaStreamNonBlocking)

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back; its submitted work goes on."""
        self._call("cudaStreamDestroy", stream)

    def begin_capture(self, stream: int) -> None:
        """From now on this thread's submissions to the stream are recorded and not run.

        In the relaxed mode: in the others, memory that Python's garbage collector gives back meanwhile would spoil the
        recording (CUDA Runtime API, cudaThreadExchangeStreamCaptureMode).
        """
        mode = self._api.cudaStreamCaptureMode.cudaStreamCaptureModeRelaxed
        self._call("cudaStreamBeginCapture", stream, mode)

    def end_capture(self, stream: int) -> int:
        """What was recorded, as a graph to launch."""
        graph = self._call("cudaStreamEndCapture", stream)
        try:
            return int(self._call("cudaGraphInstantiateWithFlags", graph, 0))
        finally:
            self._call("cudaGraphDestroy", graph)

    def record(self, stream: int, submit) -> list[tuple[str, int]]:
        """What ``submit(stream)`` puts on the stream, by the driver's own record of it; nothing of it is run.

        Memory that ``submit`` takes from the device past the stream is an error in the capture mode used here.

        Returns
        -------
        list of (str, int)
            In no order: "kernel", "copy", "allocation" or what else CUDA calls the node, and its bytes (0 of a kernel).
        """
        self._call("cudaStreamBeginCapture", stream, self._api.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            submit(stream)
        finally:
            graph = self._call("cudaStreamEndCapture", stream)
        try:
            _, count = self._results("cudaGraphGetNodes", graph)
            nodes = self._results("cudaGraphGetNodes", graph, int(count))[0] if count else []
            return [self._describe(node) for node in nodes]
        finally:
            self._call("cudaGraphDestroy", graph)

    def _describe(self, node) -> tuple[str, int]:
        kind, kinds = self._call("cudaGraphNodeGetType", node), self._api.cudaGraphNodeType
        if kind == kinds.cudaGraphNodeTypeKernel:
            return "kernel", 0
        if kind == kinds.cudaGraphNodeTypeMemcpy:
            extent = self._call("cudaGraphMemcpyNodeGetParams", node).extent
            return "copy", int(extent.width * extent.height * extent.depth)
        if kind == kinds.cudaGraphNodeTypeMemAlloc:
            return "allocation", int(self._call("cudaGraphMemAllocNodeGetParams", node).bytesize)
        return str(kind), 0

    def launch_graph(self, graph: int, stream: int) -> None:
        """Submit everything that was recorded, at once."""
        self._call("cudaGraphLaunch", graph, stream)

    def destroy_graph(self, graph: int) -> None:
        """Give a graph back."""
        self._call("cudaGraphExecDestroy", graph)

    def kind_and_device(self, address: int) -> tuple[str, int]:
        """What CUDA knows about an address: "managed", "mapped" (page-locked) or "device" memory, and of which device.

        Raises
        ------
        UnsupportedError
            If the address is none of CUDA's.
        """
        attributes, types = self._call("cudaPointerGetAttributes", address), self._api.cudaMemoryType
        kinds = {
            types.cudaMemoryTypeManaged: "managed",
            types.cudaMemoryTypeHost: "mapped",
            types.cudaMemoryTypeDevice: "device",
        }
        if attributes.type not in kinds:
            raise UnsupportedError(f"address {address:#x} is ordinary host memory, which CUDA does not know")
        return kinds[attributes.type], int(attributes.device)

    def synchronize(self, stream: int, device_id: int = 0) -> None:
        """Wait until everything submitted to the stream is done; 0 is the device's default stream."""
        if stream in DEFAULT_STREAMS:
            with self.on_device(device_id):
                self._call("cudaStreamSynchronize", stream)
        else:
            self._call("cudaStreamSynchronize", stream)

    def synchronize_device(self, device_id: int) -> None:
        """Wait until everything submitted to the device is done."""
        with self.on_device(device_id):
            self._call("cudaDeviceSynchronize")

    def create_event(self, device_id: int) -> int:
        """A new event, for waiting and not for timing."""
        return self._address(device_id, "cudaEventCreateWithFlags", self._api.cudaEventDisableTiming)

    def record_event(self, event: int, stream: int, device_id: int) -> None:
        """The event is over when everything submitted to the stream so far is."""
        with self.on_device(device_id):
            self._call("cudaEventRecord", event, stream)

    def synchronize_event(self, event: int) -> None:
        """Wait until the event is over."""
        self._call("cudaEventSynchronize", event)

    def wait_on_stream(self, stream: int, event: int, device_id: int) -> None:
        """What is submitted to the stream from now on starts when the event is over; the host does not wait."""
        with self.on_device(device_id):
            self._call("cudaStreamWaitEvent", stream, event, 0)

    def destroy_event(self, event: int) -> None:
        """Give an event back; who waits for it goes on waiting."""
        self._call("cudaEventDestroy", event)

    def attach_to_host(self, address: int, device_id: int) -> None:
        """Managed memory on devices without concurrent access: the host's, if no kernel uses it any more.

        On a stream of its own: the one that had the memory may have work for other memory, or be gone.
        """
        if device_id not in self._attaching:
            self._attaching[device_id] = self.create_stream(device_id)
        self._call("cudaStreamAttachMemAsync", self._attaching[device_id], address, 0, self._api.cudaMemAttachHost)
        self.synchronize(self._attaching[device_id])

    def attach_to_stream(self, address: int, stream: int, alone: bool) -> None:
        """The way back: to this stream alone, or to all. Default streams know no memory of their own."""
        alone = alone and stream not in DEFAULT_STREAMS
        flag = self._api.cudaMemAttachSingle if alone else self._api.cudaMemAttachGlobal
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
        return DEFAULT_STREAM
    if hasattr(stream, "__cuda_stream__"):
        return int(stream.__cuda_stream__()[1])
    for attribute in ("cuda_stream", "ptr"):
        if hasattr(stream, attribute):
            return int(getattr(stream, attribute))
    return int(stream)


def at_end(thing, call, *arguments) -> None:
    """Call when nothing refers to ``thing`` any more. Of several calls the last one registered comes first.

    Not at exit: the driver is torn down with the process, and calling it then would crash. What CUDA refuses is not
    reported: the device's error was, to whoever caused it, and a forked child has no device.
    """
    weakref.finalize(thing, _quietly, call, *arguments).atexit = False


def _quietly(call, *arguments) -> None:
    with contextlib.suppress(UnsupportedError):
        call(*arguments)


class Stream:
    """A stream of this package's own, destroyed when nothing refers to it any more; its submitted work goes on."""

    def __init__(self, device_id: int):
        self.handle = runtime().create_stream(device_id)
        at_end(self, runtime().destroy_stream, self.handle)


class Submitted:
    """Work on a device's streams that nobody has waited for yet: an event behind it on each stream.

    An event is ours, a stream may be somebody's who destroys it meanwhile.
    """

    def __init__(self, device_id: int):
        self._runtime, self._device_id = runtime(), device_id
        self._events = {}  # stream's handle -> event

    def __bool__(self) -> bool:
        return bool(self._events)

    def follow(self, handle: int) -> None:
        """What is submitted to the stream from now on starts after the work so far; `mark` it, it stands for both."""
        for earlier in list(self._events):
            self._runtime.wait_on_stream(handle, self._events[earlier], self._device_id)
            if earlier != handle:
                self._runtime.destroy_event(self._events.pop(earlier))

    def mark(self, handle: int) -> None:
        """Work was submitted to the stream."""
        if handle not in self._events:
            self._events[handle] = self._runtime.create_event(self._device_id)
        self._runtime.record_event(self._events[handle], handle, self._device_id)

    def wait(self) -> None:
        """Wait for all of it."""
        for handle in list(self._events):
            self._runtime.synchronize_event(self._events[handle])
            self._runtime.destroy_event(self._events.pop(handle))
