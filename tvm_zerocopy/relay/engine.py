"""`GraphEngine`: an `Engine` whose program TVM's GraphExecutor runs."""

from __future__ import annotations

import numpy as np
import tvm
from tvm.contrib import graph_executor

from ..buffers import ExternalBuffer
from ..engine import Engine
from ..errors import BufferError, UnsupportedError
from ..passes.relay.frame_descriptor import describe, descriptor_length

ALIGNMENT = 64  # tvm::runtime::kAllocAlignment of TVM 0.16 to 0.19, below which the executor refuses external memory


class GraphEngine(Engine):
    """A compiled detector in a TVM build with Relay; everything an `Engine` is, but for the times of single kernels.

    Frames come by their address, with any row pitch and alignment. Outputs that are bound must lie on 64-byte
    boundaries (the executor's condition). Each binding has an executor of its own; all read the same weights.
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

    def _allocate_workspace(self):
        """An executor: the graph's memory plan, on this engine's weights."""
        if self.runs_on_cuda:
            raise UnsupportedError("a Relay program runs on the CPU here; preprocessing and NMS have no GPU schedule")
        executor = graph_executor.create(self.program["graph"], self.module, tvm.cpu())
        for field in self.program["weights"]:
            view = self.weights.view(field["shape"], field["dtype"], offset=field["offset"])
            executor.set_input_zero_copy(field["name"], tensor_of(view))
        return Workspace(executor, [t["name"] for t in self.program["inputs"]], self.program["inputs"])


class Workspace:
    """An executor with the descriptors of its frame."""

    def __init__(self, executor, names, inputs):
        self.executor = executor
        self.descriptors = [ExternalBuffer.allocate((descriptor_length(len(t["shape"])),), "int64") for t in inputs]
        for name, descriptor in zip(names, self.descriptors):
            executor.set_input_zero_copy(name, tensor_of(descriptor))


class GraphRun:
    """One call of the program on fixed memory, so that calling it again makes nothing new."""

    def __init__(self, inputs, outputs, workspace: Workspace):
        for index, buffer in enumerate(outputs):
            if buffer.address % ALIGNMENT:
                raise BufferError(
                    f"output {index} is at {buffer.address:#x}, {buffer.address % ALIGNMENT} bytes past a boundary of "
                    f"{ALIGNMENT}; align it to {ALIGNMENT} bytes (ExternalBuffer.allocate does)"
                )
        self._workspace = workspace
        for descriptor, buffer in zip(workspace.descriptors, inputs):
            descriptor.numpy()[...] = np.array(describe(buffer), np.int64)
        self._outputs = [tensor_of(buffer) for buffer in outputs]
        for index, tensor in enumerate(self._outputs):
            workspace.executor.set_output_zero_copy(index, tensor)
        self._run = workspace.executor.module["run"]
        self._checked = (*inputs, *outputs)
        self._holds = tuple(buffer.for_device() for buffer in self._checked)

    def __call__(self) -> None:
        taken = 0
        try:
            for buffer, hold in zip(self._checked, self._holds):
                buffer.check()
                hold.__enter__()
                taken += 1
            self._run()
        finally:
            while taken:
                taken -= 1
                self._holds[taken].__exit__(None, None, None)


def tensor_of(buffer: ExternalBuffer):
    """The buffer's memory as TVM 0.16 to 0.19 know tensors; read-only memory for programs that only read it."""
    return tvm.nd.from_dlpack(buffer.capsule())


def load_library(path):
    """The kernels of an artifact."""
    return tvm.runtime.load_module(str(path))
