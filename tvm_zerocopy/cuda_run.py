"""A run of the program on a CUDA stream: launched kernel by kernel, or captured once as a graph and replayed."""

from __future__ import annotations

import contextlib

import tvm_ffi

from .buffers import ExternalBuffer, cuda


class CudaRun:
    """One call of the program with its arguments made ready.

    Parameters
    ----------
    function : callable
        The program's ``main``; it launches on TVM's current stream and allocates nothing.
    buffers : sequence of ExternalBuffer
        The caller's inputs and outputs: checked and held while a run is submitted.
    private : sequence of ExternalBuffer
        Weights and workspace, the last arguments. They live until the submitted runs are done.
    device_id : int
        The CUDA device that all of them are on.

    Notes
    -----
    A graph keeps addresses and sizes, which are fixed here. It is captured at the second run: during the first one the
    driver loads the kernels. One graph serves all streams; CUDA runs its launches one after another.
    """

    def __init__(self, function, buffers: list[ExternalBuffer], private: list[ExternalBuffer], device_id: int):
        self._function, self._buffers = function, buffers
        self._arguments = [buffer.tensor() for buffer in (*buffers, *private)]
        self._device_id, self._device = device_id, tvm_ffi.device("cuda", device_id)
        self._stream = cuda.Stream(device_id)
        self._submitted = cuda.Submitted(device_id)
        self._graphs = []  # the one graph, once it is captured
        self._launched = False
        cuda.at_end(self, _end, cuda.runtime(), self._submitted, self._graphs, list(private))

    def __call__(self) -> None:
        """Run on a stream of its own and wait for it."""
        self.submit()
        self._submitted.wait()
        for buffer in self._buffers:
            buffer.synchronize()

    def submit(self, stream=None) -> None:
        """Submit to a stream (None: this run's own) and return; ``for_host`` and ``synchronize`` wait for it."""
        handle = self._stream.handle if stream is None else cuda.stream_handle(stream)
        with contextlib.ExitStack() as stack:
            stack.enter_context(cuda.runtime().on_device(self._device_id))
            for buffer in self._buffers:
                buffer.check()
                stack.enter_context(buffer.for_device(handle))
            self._submitted.follow(handle)
            stack.callback(self._submitted.mark, handle)
            if not self._launched:
                self.launch(handle)
                self._launched = True
                return
            if not self._graphs:
                self._graphs.append(self._capture())
            cuda.runtime().launch_graph(self._graphs[0], handle)

    def launch(self, handle: int) -> None:
        """Submit the kernels one by one, for a graph that the caller is capturing; the buffers are not checked."""
        with cuda.runtime().on_device(self._device_id), tvm_ffi.use_raw_stream(self._device, handle):
            self._function(*self._arguments)

    def _capture(self) -> int:
        runtime, handle = cuda.runtime(), self._stream.handle
        runtime.begin_capture(handle)
        try:
            self.launch(handle)
        except BaseException:
            with contextlib.suppress(Exception):
                runtime.destroy_graph(runtime.end_capture(handle))
            raise
        return runtime.end_capture(handle)


def _end(runtime: cuda.CudaRuntime, submitted: cuda.Submitted, graphs: list, _private: list) -> None:
    """What the kernels use is held in the arguments until they are done."""
    submitted.wait()
    for graph in graphs:
        runtime.destroy_graph(graph)
