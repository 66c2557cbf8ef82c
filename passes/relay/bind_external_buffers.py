"""Caller-owned memory as a GraphExecutor's inputs and outputs: read and written in place, nothing copied."""

from typing import Any, Dict, List, Sequence

import tvm
from tvm.contrib.graph_executor import GraphModule

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.errors import BufferError, UnsupportedError

ALIGNMENT = 64  # tvm::runtime::kAllocAlignment of TVM 0.16 to 0.19, below which the executor refuses external memory


class BoundExecutor:
    """An executor whose inputs and outputs are somebody's buffers; ``run`` and ``outputs`` are all there is to it."""

    def __init__(self, executor: GraphModule, inputs: List[ExternalBuffer], outputs: List[ExternalBuffer]):
        self._executor, self._inputs = executor, inputs
        self.outputs = outputs

    def run(self) -> None:
        """One inference on what the input buffers hold now; the results are in ``outputs`` afterwards."""
        self._executor.run()


def bind_external_buffers(executor: GraphModule, inputs: Dict[str, Any], outputs: Sequence[Any]) -> BoundExecutor:
    """Let the executor read and write buffers of the caller where they are.

    ``BindExternalBuffers`` on the Relay road: the GraphExecutor has destination passing built in.

    Parameters
    ----------
    executor : GraphModule
        On the CPU.
    inputs : dict of str to buffer
        By the names of ``main``'s parameters. Anything that ``ExternalBuffer.wrap`` takes: numpy arrays, DLPack,
        ``ExternalBuffer`` itself.
    outputs : sequence of buffers
        One for each result of ``main``, in order.

    Raises
    ------
    BufferError
        If a buffer is not of the tensor's shape and dtype, dense, on the CPU, aligned to 64 bytes and, for an output,
        writable; if there is no such input; or if the number of outputs is not the program's.
    UnsupportedError
        If the executor does not run on the CPU, or has no zero-copy binding.
    """
    count = executor.get_num_outputs()
    if len(outputs) != count:
        raise BufferError(f"the program has {count} outputs; {len(outputs)} buffers were given")
    for function in ("set_input_zero_copy", "set_output_zero_copy"):
        if not executor.module.implements_function(function):
            raise UnsupportedError(f"this TVM build's GraphExecutor has no {function}; TVM 0.16 or newer has it")
    bound = []
    for name, value in inputs.items():
        if executor.get_input_index(name) < 0:
            raise BufferError(f"the program has no input {name!r}")
        bound.append(("input", name, _checked(f"input {name}", value, executor.get_input(name))))
    for index, value in enumerate(outputs):
        buffer = _checked(f"output {index}", value, executor.get_output(index))
        if not buffer.writable:
            raise BufferError(f"output {index} is read-only memory; give memory that can be written")
        bound.append(("output", index, buffer))
    for kind, key, buffer in bound:  # nothing is bound before all is checked
        tensor = tvm.nd.from_dlpack(buffer)
        (executor.set_input_zero_copy if kind == "input" else executor.set_output_zero_copy)(key, tensor)
    by_kind = {kind: [buffer for k, _, buffer in bound if k == kind] for kind in ("input", "output")}
    return BoundExecutor(executor, by_kind["input"], by_kind["output"])


def _checked(what: str, value: Any, tensor) -> ExternalBuffer:
    """The buffer, if the executor can use it in the place of its own ``tensor``."""
    if tensor.device.device_type != tvm.cpu().device_type:
        raise UnsupportedError(f"{what} lives on {tensor.device}; external buffers are bound on the CPU only")
    buffer = value if isinstance(value, ExternalBuffer) else ExternalBuffer.wrap(value)
    if buffer.kind == "device":
        raise BufferError(f"{what} is device memory; the program runs on the CPU")
    expected = (tuple(tensor.shape), str(tensor.dtype))
    if (buffer.shape, buffer.dtype.name) != expected:
        raise BufferError(f"{what} is {buffer.dtype} {buffer.shape}; the program has {expected[1]} {expected[0]}")
    dense, pitch = [], buffer.dtype.itemsize
    for side in reversed(buffer.shape):
        dense.insert(0, pitch)
        pitch *= side
    if any(s != d for s, d, side in zip(buffer.strides, dense, buffer.shape) if side > 1):
        raise BufferError(f"{what} has strides {buffer.strides}; a Relay program takes dense tensors: {tuple(dense)}")
    if buffer.address % ALIGNMENT:
        raise BufferError(
            f"{what} is at {buffer.address:#x}, {buffer.address % ALIGNMENT} bytes past a boundary of {ALIGNMENT}; "
            f"align it to {ALIGNMENT} bytes (ExternalBuffer.allocate does)"
        )
    return buffer
