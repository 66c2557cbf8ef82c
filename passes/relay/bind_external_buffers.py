"""Caller-owned memory as an executor's inputs and outputs: read and written in place, nothing copied."""

from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule
from tvm.runtime.vm import VirtualMachine

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.errors import BufferError, UnsupportedError

ALIGNMENT = 64  # tvm::runtime::kAllocAlignment of TVM 0.16 to 0.19, below which the executor refuses external memory
CPU, CUDA = 1, 2  # DLDeviceType
SEEN_BY = {CPU: ("host", "pinned", "mapped", "managed"), CUDA: ("mapped", "managed", "device")}
MENDS = {CPU: "give host memory", CUDA: "give memory that the GPU sees: kind='mapped', 'managed' or 'device'"}


class Slot(NamedTuple):
    """A tensor of the program, and the device that it is on."""

    shape: Tuple[int, ...]
    dtype: str
    device: int


class BoundExecutor:
    """An executor whose inputs and outputs are somebody's buffers; ``run`` and ``outputs`` are all there is to it."""

    def __init__(self, run, inputs: List[ExternalBuffer], outputs: List[ExternalBuffer]):
        self._run, self._inputs = run, inputs
        self.outputs = outputs

    def run(self) -> None:
        """One inference on what the input buffers hold now; the results are in ``outputs`` afterwards.

        On a GPU the work may go on after it returns; the device is waited for before the host looks.
        """
        self._run()


def bind_external_buffers(
    executor: Union[GraphModule, VirtualMachine],
    inputs: Dict[str, Any],
    outputs: Sequence[Any],
    main: Optional[relay.Function] = None,
    device: Optional[tvm.runtime.Device] = None,
) -> BoundExecutor:
    """Let the executor read and write buffers of the caller where they are.

    ``BindExternalBuffers`` on the Relay road: the executors have destination passing built in. On a GPU the buffers are
    memory that it sees; on boards whose CPU and GPU share memory, managed or mapped memory is what both use in place.

    Parameters
    ----------
    executor : GraphModule or tvm.runtime.vm.VirtualMachine
        On the CPU or a CUDA device.
    inputs : dict of str to buffer
        By the names of ``main``'s parameters. Anything that ``ExternalBuffer.wrap`` takes: numpy arrays, DLPack,
        ``ExternalBuffer`` itself. The virtual machine needs all of them.
    outputs : sequence of buffers
        One for each result of ``main``, in order.
    main : relay.Function or None
        For the virtual machine, which does not know its tensors: the function that was compiled.
    device : tvm.runtime.Device or None
        For the virtual machine: where it runs. None: the CPU.

    Raises
    ------
    BufferError
        If a buffer is not of the tensor's shape and dtype, dense, seen by the device, aligned to 64 bytes and, for an
        output, writable; if there is no such input; or if the number of outputs is not the program's.
    UnsupportedError
        If the executor runs on neither CPU nor CUDA, or has no zero-copy binding.
    """
    if isinstance(executor, VirtualMachine):
        return _bind_machine(executor, inputs, outputs, main, device or tvm.cpu())
    _check_count(executor.get_num_outputs(), outputs)
    for function in ("set_input_zero_copy", "set_output_zero_copy"):
        if not executor.module.implements_function(function):
            raise UnsupportedError(f"this TVM build's GraphExecutor has no {function}; TVM 0.16 or newer has it")
    for name in inputs:
        if executor.get_input_index(name) < 0:
            raise BufferError(f"the program has no input {name!r}")
    read = {name: _checked(f"input {name}", value, _slot(executor.get_input(name))) for name, value in inputs.items()}
    written = [
        _checked(f"output {i}", value, _slot(executor.get_output(i)), write=True) for i, value in enumerate(outputs)
    ]
    for name, (buffer, device) in read.items():  # nothing is bound before all is checked
        executor.set_input_zero_copy(name, _tensor(buffer, device))
    for index, (buffer, device) in enumerate(written):
        executor.set_output_zero_copy(index, _tensor(buffer, device))
    return BoundExecutor(executor.run, [buffer for buffer, _ in read.values()], [buffer for buffer, _ in written])


def _bind_machine(machine, inputs, outputs, main, on) -> BoundExecutor:
    if main is None:
        raise BufferError("the virtual machine does not know its tensors; give main, the function that was compiled")
    if not hasattr(machine, "invoke_with_outputs"):
        raise UnsupportedError("this TVM build's virtual machine cannot write to given outputs; TVM 0.16 or newer can")
    main = relay.transform.InferType()(tvm.IRModule.from_expr(main))["main"]
    names = [param.name_hint for param in main.params]
    if set(inputs) != set(names):
        raise BufferError(f"the program's inputs are {', '.join(names)}; got {', '.join(inputs) or 'none'}")
    result = main.ret_type
    results = list(result.fields) if isinstance(result, relay.TupleType) else [result]
    _check_count(len(results), outputs)
    slots = {param.name_hint: _typed_slot(param.checked_type, on.device_type) for param in main.params}
    read = {name: _checked(f"input {name}", inputs[name], slot) for name, slot in slots.items()}
    written = [
        _checked(f"output {i}", value, _typed_slot(ty, on.device_type), write=True)
        for i, (value, ty) in enumerate(zip(outputs, results))
    ]
    given = {name: _tensor(*each) for name, each in read.items()}
    taken = [_tensor(*each) for each in written]
    return BoundExecutor(
        lambda: machine.invoke_with_outputs("main", given, taken),
        [buffer for buffer, _ in read.values()],
        [buffer for buffer, _ in written],
    )


def _check_count(count: int, outputs) -> None:
    if len(outputs) != count:
        raise BufferError(f"the program has {count} outputs; {len(outputs)} buffers were given")


def _slot(tensor) -> Slot:
    return Slot(tuple(int(side) for side in tensor.shape), str(tensor.dtype), tensor.device.device_type)


def _typed_slot(ty, device: int) -> Slot:
    try:
        return Slot(tuple(int(side) for side in ty.shape), str(ty.dtype), device)
    except (AttributeError, TypeError):
        raise UnsupportedError(f"{ty} has no fixed shape; only tensors of fixed shape can be bound") from None


def _checked(what: str, value: Any, slot: Slot, write: bool = False) -> Tuple[ExternalBuffer, int]:
    """The buffer and the tensor's device, if the executor can use it in the place of its own tensor."""
    if slot.device not in SEEN_BY:
        raise UnsupportedError(f"{what} lives on DLPack device {slot.device}; external buffers are for CPU and CUDA")
    buffer = value if isinstance(value, ExternalBuffer) else ExternalBuffer.wrap(value)
    if buffer.kind not in SEEN_BY[slot.device]:
        place = "the CPU" if slot.device == CPU else "CUDA"
        raise BufferError(f"{what} is {buffer.kind} memory; the program runs on {place}: {MENDS[slot.device]}")
    if (buffer.shape, buffer.dtype.name) != (slot.shape, slot.dtype):
        raise BufferError(f"{what} is {buffer.dtype} {buffer.shape}; the program has {slot.dtype} {slot.shape}")
    if not buffer.is_dense:
        raise BufferError(f"{what} has strides {buffer.strides}; a Relay program takes dense tensors")
    if buffer.address % ALIGNMENT:
        raise BufferError(
            f"{what} is at {buffer.address:#x}, {buffer.address % ALIGNMENT} bytes past a boundary of {ALIGNMENT}; "
            f"align it to {ALIGNMENT} bytes (ExternalBuffer.allocate does)"
        )
    if write and not buffer.writable:
        raise BufferError(f"{what} is read-only memory; give memory that can be written")
    return buffer, slot.device


def _tensor(buffer: ExternalBuffer, device: int):
    """The memory as a tensor on the program's device."""
    if device == CPU and buffer.kind != "host":  # CUDA's host-visible memory, seen from the CPU
        buffer = ExternalBuffer.from_pointer(
            buffer.address, buffer.shape, buffer.dtype, writable=buffer.writable, owner=buffer
        )
    return tvm.nd.from_dlpack(buffer.capsule())
