"""A run of the program on a CUDA stream: launched kernel by kernel, or captured once as a graph and replayed."""

from __future__ import annotations

import contextlib
import weakref

import tvm_ffi

from .buffers import ExternalBuffer, cuda


class CudaRun:
    """One call of the program with its arguments made ready.

    Parameters
    ----------
    function : callable
        The program's ``main``; it launches on TVM's current stream and allocates nothing.
    arguments : sequence of tensors
    buffers : sequence of ExternalBuffer
        The caller's inputs and outputs: checked and held while a run is submitted.

    Notes
    -----
    A graph keeps addresses and sizes, which are fixed here. It is captured at the second run on a stream: during the
    first one the driver loads the kernels, which a capture must not do.
    """

    def __init__(self, function, arguments, buffers: list[ExternalBuffer]):
        self._function, self._arguments, self._buffers = function, arguments, buffers
        device_id = next((b.__dlpack_device__()[1] for b in buffers if b.__dlpack_device__()[0] == 2), 0)
        self._device = tvm_ffi.device("cuda", device_id)
        self._own_stream = None
        self._graphs = {}  # stream -> graph, or None after its first run

    def __call__(self) -> None:
        """Run on a stream of its own and wait for it."""
        self.submit(self._stream())
        cuda.runtime().synchronize(self._stream())
        for buffer in self._buffers:
            buffer.synchronize()

    def submit(self, stream=None) -> None:
        """Submit to a stream and return; the buffers' ``for_host`` and ``synchronize`` wait for it.

        None, and the default stream, which cannot be captured, stand for this run's own.
        """
        handle = cuda.stream_handle(stream) or self._stream()
        with contextlib.ExitStack() as holds:
            for buffer in self._buffers:
                buffer.check()
                holds.enter_context(buffer.for_device(handle))
            if handle not in self._graphs:
                self.launch(handle)
                self._graphs[handle] = None
                return
            if self._graphs[handle] is None:
                self._graphs[handle] = self._capture(handle)
            cuda.runtime().launch_graph(self._graphs[handle], handle)

    def launch(self, handle: int) -> None:
        """Submit the kernels one by one, for a graph that the caller is capturing; the buffers are not checked."""
        with tvm_ffi.use_raw_stream(self._device, handle):
            self._function(*self._arguments)

    def _capture(self, handle: int) -> int:
        runtime = cuda.runtime()
        runtime.begin_capture(handle)
        try:
            self.launch(handle)
        except BaseException:
            with contextlib.suppress(Exception):
                runtime.end_capture(handle)
            raise
        graph = runtime.end_capture(handle)
        weakref.finalize(self, runtime.destroy_graph, graph).atexit = False
        return graph

    def _stream(self) -> int:
        if self._own_stream is None:
            runtime = cuda.runtime()
            self._own_stream = runtime.create_stream()
            weakref.finalize(self, runtime.destroy_stream, self._own_stream).atexit = False
        return self._own_stream
