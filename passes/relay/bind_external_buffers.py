"""Caller-owned memory as an executor's inputs and outputs: read and written in place, nothing copied."""

import re
import weakref
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
import tvm
from tvm import relay
from tvm.contrib.graph_executor import GraphModule
from tvm.runtime.vm import VirtualMachine

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.buffers.held import HeldRun, as_host_memory
from tvm_zerocopy.errors import BufferError, UnsupportedError

from .tensor_types import tensor_of

ALIGNMENT = 64  # tvm::runtime::kAllocAlignment of TVM 0.16 to 0.19, below which the executor refuses external memory
CPU, CUDA = 1, 2  # DLDeviceType
SEEN_BY = {CPU: ("host", "pinned", "mapped", "managed"), CUDA: ("mapped", "managed", "device")}
PLACES = {CPU: "the CPU", CUDA: "CUDA"}
MENDS = {CPU: "give host memory", CUDA: "give memory that the GPU sees: kind='mapped', 'managed' or 'device'"}
PATTERNS = (0xA5, 0x5A)  # bytes that a program does not write all over an output, and hardly both


class Slot(NamedTuple):
    """A tensor of the program, and the device that it is on."""

    shape: Tuple[int, ...]
    dtype: str
    device: int


class BoundExecutor(HeldRun):
    """An executor whose inputs and outputs are somebody's buffers; ``run`` and ``outputs`` are all there is to it."""

    def __init__(self, call: Callable, inputs: List[ExternalBuffer], outputs: List[ExternalBuffer], on_cuda: bool):
        super().__init__(inputs, outputs, on_cuda)
        self._call, self._tried = call, False
        self.outputs = outputs

    def run(self) -> None:
        """One inference on what the input buffers hold now; the results are in ``outputs`` afterwards.

        On a GPU the work may go on after it returns; an output's ``for_host`` waits for it. The first run looks whether
        the program writes the outputs at all.

        Raises
        ------
        BufferError
            If a buffer was freed, moved by its owner, or is being written by a capture; or if the program does not
            write an output.
        """
        if self._tried:
            self()
        else:
            self._try()

    def _try(self) -> None:
        """Run on outputs full of a pattern; where it is left, once more on another one."""
        numbers = [number for number, output in enumerate(self.outputs) if output.kind != "device"]
        for pattern in PATTERNS:
            for number in numbers:
                with self.outputs[number].for_host() as array:
                    array.reshape(-1).view(np.uint8)[...] = pattern
            self()
            numbers = [number for number in numbers if _is_full_of(self.outputs[number], pattern)]
            if not numbers:
                self._tried = True
                return
        raise _unwritten(f"output {numbers[0]}")


def _is_full_of(output: ExternalBuffer, pattern: int) -> bool:
    with output.for_host() as array:
        return bool((array.reshape(-1).view(np.uint8) == pattern).all())


def _unwritten(what: str) -> BufferError:
    return BufferError(
        f"the program does not write {what}: it is an input, a constant, another output, or a view of a tensor that is "
        "read again; run the pass BindExternalBuffers before the build"
    )


def bind_external_buffers(
    executor: Union[GraphModule, VirtualMachine],
    inputs: Dict[str, Any],
    outputs: Sequence[Any],
    main: Optional[relay.Function] = None,
) -> BoundExecutor:
    """Let the executor read and write buffers of the caller where they are.

    Run the pass ``BindExternalBuffers`` before the build. On a GPU the buffers are memory that it sees; on boards whose
    CPU and GPU share memory, managed or mapped memory is what both use in place. An executor may have several bindings;
    they run one after another.

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

    Raises
    ------
    BufferError
        If a buffer is not of the tensor's shape and dtype, dense, seen by the device, aligned to 64 bytes and, for an
        output, writable and apart from all others; if there is no such input; or if the number of outputs is not the
        program's.
    UnsupportedError
        If the executor runs on neither CPU nor CUDA, or has no zero-copy binding.
    """
    program = _Machine(executor, main) if isinstance(executor, VirtualMachine) else _Graph(executor)
    for name in inputs:
        if program.input(name) is None:
            raise BufferError(f"the program has no input {name!r}")
    if not set(program.required) <= set(inputs):
        raise BufferError(f"the program's inputs are {', '.join(program.required)}; got {', '.join(inputs) or 'none'}")
    if len(outputs) != len(program.outputs):
        raise BufferError(f"the program has {len(program.outputs)} outputs; {len(outputs)} buffers were given")
    slots = {name: program.input(name) for name in inputs}
    read = {name: _checked(f"input {name}", value, slots[name]) for name, value in inputs.items()}
    written = [
        _checked(f"output {i}", value, slot, write=True)
        for i, (value, slot) in enumerate(zip(outputs, program.outputs))
    ]
    _require_apart(read, written)  # nothing is bound before all is checked
    given = {name: tensor_on(buffer, slots[name].device) for name, buffer in read.items()}
    taken = [tensor_on(buffer, slot.device) for buffer, slot in zip(written, program.outputs)]
    on_cuda = any(slot.device == CUDA for slot in (*slots.values(), *program.outputs))
    return BoundExecutor(program.bind(given, taken), list(read.values()), written, on_cuda)


class _Graph:
    """A GraphExecutor and its tensors. It reads and writes where it was told to last."""

    required = ()
    _told = weakref.WeakKeyDictionary()  # executor -> the binding that it was told of last

    def __init__(self, executor: GraphModule):
        for function in ("set_input_zero_copy", "set_output_zero_copy"):
            if not executor.module.implements_function(function):
                raise UnsupportedError(f"this TVM build's GraphExecutor has no {function}; TVM 0.16 or newer has it")
        self._executor = executor
        self.outputs = [self._slot(executor.get_output(i)) for i in range(executor.get_num_outputs())]

    def input(self, name: str) -> Optional[Slot]:
        return self._slot(self._executor.get_input(name)) if self._executor.get_input_index(name) >= 0 else None

    @staticmethod
    def _slot(tensor) -> Slot:
        return Slot(tuple(int(side) for side in tensor.shape), str(tensor.dtype), tensor.device.device_type)

    def bind(self, given: dict, taken: list) -> Callable:
        """What runs the program on these tensors."""
        binding = (given, taken)

        def tell():
            self._told.pop(self._executor, None)
            for name, tensor in given.items():
                self._executor.set_input_zero_copy(name, tensor)
            for index, tensor in enumerate(taken):
                try:
                    self._executor.set_output_zero_copy(index, tensor)
                except tvm.TVMError as error:  # of outputs that are one tensor it counts only one
                    raise _unwritten(f"output {index}") from error
            self._told[self._executor] = binding

        def call():
            if self._told.get(self._executor) is not binding:
                tell()
            self._executor.run()

        tell()
        return call


class _Machine:
    """A virtual machine and its tensors, of which only the compiled function knows."""

    def __init__(self, machine: VirtualMachine, main: Optional[relay.Function]):
        if main is None:
            raise BufferError(
                "the virtual machine does not know its tensors; give main, the function that was compiled"
            )
        if not hasattr(machine, "invoke_with_outputs"):
            raise UnsupportedError(
                "this TVM build's virtual machine cannot write to given outputs; TVM 0.16 or newer can"
            )
        main = relay.transform.InferType()(tvm.IRModule.from_expr(main))["main"]
        self._machine, self._device = machine, self._device_of(machine)
        types = {param.name_hint: param.checked_type for param in main.params}
        self.required = list(machine._exec.get_function_params("main"))  # without those that were bound to constants
        strangers = [name for name in self.required if name not in types]
        if strangers:
            raise BufferError(f"main is not the function that was compiled: it has no parameter {strangers[0]!r}")
        self._inputs = {name: self._slot(types[name]) for name in self.required}
        made = main.ret_type
        self.outputs = [self._slot(ty) for ty in (made.fields if isinstance(made, relay.TupleType) else [made])]

    @staticmethod
    def _device_of(machine) -> int:
        """The GPU if the program has one: the CPU is there for shapes then."""
        found = {int(kind) for kind in re.findall(r"device type (\d+)", machine._exec.virtual_devices)}
        return max(found, default=CPU)

    def _slot(self, ty) -> Slot:
        tensor = tensor_of("", ty)
        if not tensor.dtype or not tensor.is_static:
            raise UnsupportedError(f"{ty} has no fixed shape; only tensors of fixed shape can be bound")
        return Slot(tensor.sides, tensor.dtype, self._device)

    def input(self, name: str) -> Optional[Slot]:
        return self._inputs.get(name)

    def bind(self, given: dict, taken: list) -> Callable:
        """What runs the program on these tensors."""

        def call():
            try:
                self._machine.invoke_with_outputs("main", given, taken)
            except tvm.TVMError as error:
                if "is not supported for set_outputs" not in str(error):
                    raise
                raise _unwritten("its output") from error

        return call


def _checked(what: str, value: Any, slot: Slot, write: bool = False) -> ExternalBuffer:
    """The buffer, if the executor can use it in the place of its own tensor."""
    if slot.device not in SEEN_BY:
        raise UnsupportedError(f"{what} lives on DLPack device {slot.device}; external buffers are for CPU and CUDA")
    try:
        buffer = ExternalBuffer.wrap(value)
        buffer.check()
    except BufferError as error:
        raise BufferError(f"{what} cannot be used in place: {error}") from error
    if buffer.kind not in SEEN_BY[slot.device]:
        place = PLACES[slot.device]
        raise BufferError(f"{what} is {buffer.kind} memory; the program runs on {place}: {MENDS[slot.device]}")
    if (buffer.shape, buffer.dtype.name) != (slot.shape, slot.dtype):
        raise BufferError(f"{what} is {buffer.dtype} {buffer.shape}; the program has {slot.dtype} {slot.shape}")
    if not buffer.is_dense:
        raise BufferError(f"{what} has strides {buffer.strides}; a Relay program takes dense tensors")
    require_aligned(what, buffer)
    if write and not buffer.writable:
        raise BufferError(f"{what} is read-only memory; give memory that can be written")
    return buffer


def _require_apart(read: Dict[str, ExternalBuffer], written: List[ExternalBuffer]) -> None:
    """Refuse outputs that share memory with an input or with each other."""
    taken = {f"input {name}": buffer for name, buffer in read.items()}
    for index, buffer in enumerate(written):
        for other, theirs in taken.items():
            if buffer.overlaps(theirs):
                raise BufferError(f"output {index} overlaps {other}; give each memory of its own")
        taken[f"output {index}"] = buffer


def require_aligned(what: str, buffer: ExternalBuffer) -> None:
    """Raise BufferError if the executors would refuse the address."""
    if buffer.address % ALIGNMENT:
        raise BufferError(
            f"{what} is at {buffer.address:#x}, {buffer.address % ALIGNMENT} bytes past a boundary of {ALIGNMENT}; "
            f"align it to {ALIGNMENT} bytes (ExternalBuffer.allocate does)"
        )


def tensor_on(buffer: ExternalBuffer, device: int):
    """The memory as TVM 0.16 to 0.19 know tensors, on a program's device; read-only memory for those who only read."""
    return tvm.nd.from_dlpack((as_host_memory(buffer) if device == CPU else buffer).capsule())
