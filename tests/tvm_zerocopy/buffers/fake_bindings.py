"""A stand-in for ``cuda.bindings.runtime``: real host memory behind CUDA's calls, and a log of what was called.

It holds callers to what CUDA leaves undefined: no call on a destroyed stream or on one of another device than the
current, no attaching of a part of an allocation, nothing freed while this thread captures in a mode that forbids it.
"""

import ctypes
import itertools
import time
from types import SimpleNamespace

LIBC = ctypes.CDLL(None)  # not numpy's or Python's allocator: a sanitizer sees where the memory ends
ALIGNMENT = 256  # bytes, CUDA's


class FakeBindings:
    """Same functions, same result tuples. ``concurrent=0`` behaves as Xavier; ``fail`` names a call that is refused."""

    cudaError_t = SimpleNamespace(cudaSuccess=0, cudaErrorMemoryAllocation=2)
    cudaDeviceAttr = SimpleNamespace(
        cudaDevAttrConcurrentManagedAccess=89,
        cudaDevAttrComputeCapabilityMajor=75,
        cudaDevAttrComputeCapabilityMinor=76,
        cudaDevAttrL2CacheSize=38,
    )
    cudaMemoryType = SimpleNamespace(cudaMemoryTypeHost=1, cudaMemoryTypeDevice=2, cudaMemoryTypeManaged=3)
    cudaMemAttachGlobal, cudaMemAttachHost, cudaMemAttachSingle = 1, 2, 4
    cudaStreamNonBlocking = 1
    cudaEventDisableTiming = 2
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1, cudaStreamCaptureModeRelaxed=2)
    cudaGraphNodeType = SimpleNamespace(
        cudaGraphNodeTypeKernel=0, cudaGraphNodeTypeMemcpy=1, cudaGraphNodeTypeMemset=2, cudaGraphNodeTypeMemAlloc=10
    )
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4, cudaMemcpyDeviceToDevice=3)
    cudaHostAllocPortable, cudaHostAllocMapped = 1, 2

    def __init__(self, concurrent=1, fail=None, device_offset=0):
        self.concurrent, self.fail, self.device_offset = concurrent, fail, device_offset
        self.driver = 11040  # JetPack 5's
        self.calls = []
        self.live = {}  # address -> kind of allocation
        self.current = 0
        self.streams = {}  # live stream -> its device
        self.devices = {}  # address -> device
        self.attached = {}  # managed address -> what it was attached to last: ("host",), ("all",) or ("stream", handle)
        self.capturing = None  # mode
        self.nodes = []  # type and bytes of each node of every graph
        self.numbers = itertools.count()  # of events
        self.events = {}  # live event -> when it was recorded, in milliseconds
        self.recorded = {}  # event -> stream
        self.waited = []  # streams of the events that the host waited for

    def called(self, name):
        return [arguments for call, arguments in self.calls if call == name]

    def _done(self, name, arguments, *results):
        self.calls.append((name, arguments))
        return (2 if name == self.fail else 0, *(results or ()))

    def _new(self, name, nbytes, *rest):
        place = ctypes.c_void_p()
        assert LIBC.posix_memalign(ctypes.byref(place), ctypes.c_size_t(ALIGNMENT), ctypes.c_size_t(nbytes)) == 0
        address = place.value
        ctypes.memset(address, 0, nbytes)
        result = self._done(name, (nbytes, *rest), address)
        if result[0] == 0:
            self.live[address], self.devices[address] = name, self.current
        return result

    def _any(self, stream):
        """A stream of whichever device; tests' own numbers are small."""
        assert stream < 0x5000 or stream in self.streams, f"stream {stream:#x} was destroyed"
        return stream

    def _on(self, stream):
        """A stream that work can be submitted to now."""
        assert self.streams.get(self._any(stream), self.current) == self.current, "a stream of another device"
        return stream

    def _may_free(self):
        assert self.capturing in (None, 2), "cudaFree while this thread captures"

    def cudaMalloc(self, nbytes):
        return self._new("cudaMalloc", nbytes)

    def cudaMallocManaged(self, nbytes, flags):
        return self._new("cudaMallocManaged", nbytes, flags)

    def cudaHostAlloc(self, nbytes, flags):
        return self._new("cudaHostAlloc", nbytes, flags)

    def cudaFree(self, address):
        self._may_free()
        assert self.live.pop(address) in ("cudaMalloc", "cudaMallocManaged")
        LIBC.free(ctypes.c_void_p(address))
        return self._done("cudaFree", (address,))

    def cudaFreeHost(self, address):
        self._may_free()
        assert self.live.pop(address) == "cudaHostAlloc"
        LIBC.free(ctypes.c_void_p(address))
        return self._done("cudaFreeHost", (address,))

    def cudaHostGetDevicePointer(self, address, flags):
        return self._done("cudaHostGetDevicePointer", (address,), address + self.device_offset)

    def cudaGetDevice(self):
        return self._done("cudaGetDevice", (), self.current)

    def cudaSetDevice(self, device_id):
        self.current = device_id
        return self._done("cudaSetDevice", (device_id,))

    def cudaDeviceGetAttribute(self, attribute, device_id):
        value = {89: self.concurrent, 75: 7, 76: 2, 38: 1 << 19}[attribute]
        return self._done("cudaDeviceGetAttribute", (attribute, device_id), value)

    def cudaDriverGetVersion(self):
        return self._done("cudaDriverGetVersion", (), self.driver)

    def cudaMemGetInfo(self):
        return 0, 1000, 4000

    def cudaPointerGetAttributes(self, address):
        types = {"cudaMallocManaged": 3, "cudaMalloc": 2, "cudaHostAlloc": 1}
        kind, device = types.get(self.live.get(address), 0), self.devices.get(address, 0)
        return self._done("cudaPointerGetAttributes", (address,), SimpleNamespace(type=kind, device=device))

    def cudaGetLastError(self):
        return self._done("cudaGetLastError", ())

    def cudaDeviceSynchronize(self):
        return self._done("cudaDeviceSynchronize", ())

    def cudaStreamCreateWithFlags(self, flags):
        stream = 0x5001 + len(self.called("cudaStreamCreateWithFlags"))
        self.streams[stream] = self.current
        return self._done("cudaStreamCreateWithFlags", (flags,), stream)

    def cudaStreamDestroy(self, stream):
        assert self.streams.pop(stream) is not None
        return self._done("cudaStreamDestroy", (stream,))

    def cudaStreamBeginCapture(self, stream, mode):
        assert self._on(stream) > 1, "the default stream cannot be captured"
        self.capturing = mode
        return self._done("cudaStreamBeginCapture", (stream, mode))

    def cudaStreamEndCapture(self, stream):
        self.capturing = None
        return self._done("cudaStreamEndCapture", (self._on(stream),), 0x6000)

    def cudaGraphInstantiateWithFlags(self, graph, flags):
        return self._done("cudaGraphInstantiateWithFlags", (graph, flags), graph + 1)

    def cudaGraphDestroy(self, graph):
        return self._done("cudaGraphDestroy", (graph,))

    def cudaGraphGetNodes(self, graph, numNodes=0):
        return self._done("cudaGraphGetNodes", (graph, numNodes), list(self.nodes[:numNodes]), len(self.nodes))

    def cudaGraphNodeGetType(self, node):
        return self._done("cudaGraphNodeGetType", (node,), node[0])

    def cudaGraphMemcpyNodeGetParams(self, node):
        extent = SimpleNamespace(width=node[1], height=1, depth=1)
        return self._done("cudaGraphMemcpyNodeGetParams", (node,), SimpleNamespace(extent=extent))

    def cudaGraphMemAllocNodeGetParams(self, node):
        return self._done("cudaGraphMemAllocNodeGetParams", (node,), SimpleNamespace(bytesize=node[1]))

    def cudaGraphLaunch(self, graph, stream):
        return self._done("cudaGraphLaunch", (graph, self._on(stream)))

    def cudaGraphExecDestroy(self, graph):
        return self._done("cudaGraphExecDestroy", (graph,))

    def cudaMemcpy(self, destination, source, nbytes, kind):
        assert kind == 4
        ctypes.memmove(destination, source, nbytes)
        return self._done("cudaMemcpy", (destination, source, nbytes, kind))

    def cudaMemcpyAsync(self, destination, source, nbytes, kind, stream):
        ctypes.memmove(destination, source, nbytes)
        return self._done("cudaMemcpyAsync", (destination, source, nbytes, kind, stream))

    def cudaEventCreate(self):
        event = 0x8000 + next(self.numbers)
        self.events[event] = None
        return self._done("cudaEventCreate", (), event)

    def cudaEventCreateWithFlags(self, flags):
        _, event = self.cudaEventCreate()
        return self._done("cudaEventCreateWithFlags", (flags,), event)

    def cudaEventDestroy(self, event):
        del self.events[event]
        return self._done("cudaEventDestroy", (event,))

    def cudaEventRecord(self, event, stream):
        self.events[event] = time.perf_counter() * 1e3
        self.recorded[event] = self._on(stream)
        return self._done("cudaEventRecord", (event, stream))

    def cudaEventSynchronize(self, event):
        assert self.events[event] is not None
        self.waited.append(self.recorded[event])
        return self._done("cudaEventSynchronize", (event,))

    def cudaStreamWaitEvent(self, stream, event, flags):
        assert self.events[event] is not None
        return self._done("cudaStreamWaitEvent", (self._on(stream), self.recorded[event]))

    def cudaEventElapsedTime(self, begin, end):
        return self._done("cudaEventElapsedTime", (begin, end), self.events[end] - self.events[begin])

    def cudaStreamSynchronize(self, stream):
        return self._done("cudaStreamSynchronize", (self._any(stream),))

    def cudaStreamAttachMemAsync(self, stream, address, length, flags):
        assert self.live[address] == "cudaMallocManaged"
        assert flags != self.cudaMemAttachSingle or stream > 1, "no memory is the default stream's alone"
        self.attached[address] = {1: ("all",), 2: ("host",), 4: ("stream", stream)}[flags]
        return self._done("cudaStreamAttachMemAsync", (self._any(stream), address, flags))

    def cudaGetErrorString(self, error):
        return 0, b"out of memory"
