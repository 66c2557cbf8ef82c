"""A stand-in for ``cuda.bindings.runtime``: real host memory behind CUDA's calls, and a log of what was called."""

import ctypes
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
    cudaMemoryType = SimpleNamespace(cudaMemoryTypeManaged=3)
    cudaMemAttachGlobal, cudaMemAttachHost, cudaMemAttachSingle = 1, 2, 4
    cudaStreamNonBlocking = 1
    cudaStreamCaptureMode = SimpleNamespace(cudaStreamCaptureModeThreadLocal=1)
    cudaMemcpyKind = SimpleNamespace(cudaMemcpyDefault=4, cudaMemcpyDeviceToDevice=3)
    cudaHostAllocPortable, cudaHostAllocMapped = 1, 2

    def __init__(self, concurrent=1, fail=None, device_offset=0):
        self.concurrent, self.fail, self.device_offset = concurrent, fail, device_offset
        self.calls = []
        self.live = {}  # address -> kind of allocation
        self.current = 0
        self.streams = 0
        self.events = {}  # event -> when it was recorded, in milliseconds

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
            self.live[address] = name
        return result

    def cudaMalloc(self, nbytes):
        return self._new("cudaMalloc", nbytes)

    def cudaMallocManaged(self, nbytes, flags):
        return self._new("cudaMallocManaged", nbytes, flags)

    def cudaHostAlloc(self, nbytes, flags):
        return self._new("cudaHostAlloc", nbytes, flags)

    def cudaFree(self, address):
        assert self.live.pop(address) in ("cudaMalloc", "cudaMallocManaged")
        LIBC.free(ctypes.c_void_p(address))
        return self._done("cudaFree", (address,))

    def cudaFreeHost(self, address):
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

    def cudaMemGetInfo(self):
        return 0, 1000, 4000

    def cudaPointerGetAttributes(self, address):
        managed = self.live.get(address) == "cudaMallocManaged"
        return self._done("cudaPointerGetAttributes", (address,), SimpleNamespace(type=3 if managed else 2))

    def cudaStreamCreateWithFlags(self, flags):
        self.streams += 1
        return self._done("cudaStreamCreateWithFlags", (flags,), 0x5000 + self.streams)

    def cudaStreamDestroy(self, stream):
        return self._done("cudaStreamDestroy", (stream,))

    def cudaStreamBeginCapture(self, stream, mode):
        return self._done("cudaStreamBeginCapture", (stream, mode))

    def cudaStreamEndCapture(self, stream):
        return self._done("cudaStreamEndCapture", (stream,), 0x6000)

    def cudaGraphInstantiateWithFlags(self, graph, flags):
        return self._done("cudaGraphInstantiateWithFlags", (graph, flags), graph + 1)

    def cudaGraphDestroy(self, graph):
        return self._done("cudaGraphDestroy", (graph,))

    def cudaGraphLaunch(self, graph, stream):
        return self._done("cudaGraphLaunch", (graph, stream))

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
        event = 0x8000 + len(self.events)
        self.events[event] = None
        return self._done("cudaEventCreate", (), event)

    def cudaEventRecord(self, event, stream):
        self.events[event] = time.perf_counter() * 1e3
        return self._done("cudaEventRecord", (event, stream))

    def cudaEventSynchronize(self, event):
        return self._done("cudaEventSynchronize", (event,))

    def cudaEventElapsedTime(self, begin, end):
        return self._done("cudaEventElapsedTime", (begin, end), self.events[end] - self.events[begin])

    def cudaStreamSynchronize(self, stream):
        return self._done("cudaStreamSynchronize", (stream,))

    def cudaStreamAttachMemAsync(self, stream, address, length, flags):
        assert self.live[address] == "cudaMallocManaged"
        return self._done("cudaStreamAttachMemAsync", (stream, address, flags))

    def cudaGetErrorString(self, error):
        return 0, b"out of memory"
