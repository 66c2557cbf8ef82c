"""`GraphEngine`: an `Engine` whose program TVM's GraphExecutor runs."""

from __future__ import annotations

import json

import numpy as np
import tvm
from tvm.contrib import graph_executor

from ..buffers import ExternalBuffer, cuda
from ..buffers.held import HeldRun
from ..cuda_compatibility import check_runs
from ..engine import Engine
from ..errors import UnsupportedError
from ..passes.relay.bind_external_buffers import CPU, require_aligned, tensor_on
from ..passes.relay.frame_descriptor import describe, descriptor_length


class GraphEngine(Engine):
    """A compiled detector in a TVM build with Relay; everything an `Engine` is, but for the times of single kernels.

    Frames come by their address, with any row pitch and alignment. Outputs that are bound must lie on 64-byte
    boundaries (the executor's condition). Each binding has an executor of its own; all read the same weights. On CUDA
    a run is over when it returns.
    """

    def trace_kernels(self, frame):
        """Not in a Relay build.

        Raises
        ------
        UnsupportedError
        """
        raise UnsupportedError(
            "kernels of a Relay program are timed by TVM itself: tvm.contrib.debugger.debug_executor on your own build"
        )

    def _make_run(self, inputs, outputs, workspace):
        return GraphRun(inputs, outputs, workspace)

    def _allocate_workspace(self, device_id):
        """An executor: the graph's memory plan, on this engine's weights."""
        if self.runs_on_cuda:
            check_runs(json.loads(self.target)["arch"], "cubin", cuda.runtime().arch())
        device = tvm.cuda() if self.runs_on_cuda else tvm.cpu()
        executor = graph_executor.create(self.program["graph"], self.module, device)
        weights = self._weights_on(0)
        for field in self.program["weights"]:
            view = weights.view(field["shape"], field["dtype"], offset=field["offset"])
            executor.set_input_zero_copy(field["name"], tensor_on(view, device.device_type))
        return Workspace(executor, device, self.program["inputs"])


class Workspace:
    """An executor with the descriptors of its frame, which on CUDA host and kernels read."""

    def __init__(self, executor, device, inputs):
        self.executor, self.device = executor, device
        kind = "host" if device.device_type == CPU else "mapped"
        lengths = [descriptor_length(len(tensor["shape"])) for tensor in inputs]
        self.descriptors = [ExternalBuffer.allocate((n,), "int64", kind=kind) for n in lengths]
        for tensor, descriptor in zip(inputs, self.descriptors):
            executor.set_input_zero_copy(tensor["name"], tensor_on(descriptor, device.device_type))


class GraphRun(HeldRun):
    """One call of the program on fixed memory, so that calling it again makes nothing new."""

    def __init__(self, inputs, outputs, workspace: Workspace):
        super().__init__(inputs, outputs, on_cuda=workspace.device.device_type != CPU)
        for index, buffer in enumerate(outputs):
            require_aligned(f"output {index}", buffer)
        self._workspace = workspace
        for descriptor, buffer in zip(workspace.descriptors, inputs):
            descriptor.numpy()[...] = np.array(describe(buffer), np.int64)
        self._outputs = [tensor_on(buffer, workspace.device.device_type) for buffer in outputs]
        for index, tensor in enumerate(self._outputs):
            workspace.executor.set_output_zero_copy(index, tensor)
        self._run = workspace.executor.module["run"]
        self._wait = None if workspace.device.device_type == CPU else workspace.device.sync

    def submit(self, stream) -> None:
        """Not in a Relay build.

        Raises
        ------
        UnsupportedError
        """
        raise UnsupportedError("TVM's GraphExecutor waits for its own stream; call run(), in a thread if needed")

    launch = submit

    def _call(self) -> None:
        self._run()
        if self._wait is not None:
            self._wait()


def load_library(path):
    """The kernels of an artifact."""
    return tvm.runtime.load_module(str(path))
