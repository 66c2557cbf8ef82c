"""What a compiled program takes and gives, and the check of the caller's tensors against it before anything runs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Sequence

import numpy as np

from .buffers import ExternalBuffer
from .errors import BufferError, FrameError, SpecError
from .specs import Frame

ALIGNMENT = 64  # bytes, of each output in a buffer that holds all of them


@dataclass(frozen=True)
class InputTensor:
    """One input. ``shape`` has None where the size is free; ``strides``, in elements, None where the pitch is free.

    ``strides`` itself is None for a dense tensor.
    """

    name: str
    shape: tuple
    dtype: str
    strides: tuple | None = None


@dataclass(frozen=True)
class OutputField:
    """One output and where it lies in a buffer that holds all of them."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


class Signature:
    """A program's inputs and outputs.

    Attributes
    ----------
    inputs : tuple of InputTensor
    outputs : dict of str to OutputField
        In the program's order, at offsets that are multiples of 64 bytes.
    output_nbytes : int
        Of one buffer that holds all outputs.
    """

    def __init__(self, program: dict[str, Any], frame: Frame | None, output_names: Sequence[str] | None, cuda: bool):
        self.frame, self.cuda = frame, cuda
        self.inputs = tuple(
            InputTensor(t["name"], tuple(t["shape"]), t["dtype"], t["strides"] and tuple(t["strides"]))
            for t in program["inputs"]
        )
        self.outputs: dict[str, OutputField] = {}
        offset = 0
        for index, tensor in enumerate(program["outputs"]):
            name = output_names[index] if output_names else tensor["name"]
            self.outputs[name] = field = OutputField(offset, tuple(tensor["shape"]), tensor["dtype"])
            offset += -(-field.nbytes // ALIGNMENT) * ALIGNMENT
        self.output_nbytes = offset

    # --- inputs -----------------------------------------------------------------------------------------------------

    def wrap_inputs(self, given) -> list[ExternalBuffer]:
        """The caller's frame as buffers, in place.

        Raises
        ------
        FrameError
            Naming what came and what is right, if a tensor's dtype, shape, strides or device is not what the program
            was compiled for.
        """
        tensors = list(given) if isinstance(given, (list, tuple)) else [given]
        if len(tensors) != len(self.inputs):
            names = ", ".join(tensor.name for tensor in self.inputs)
            what = f"a {self.frame.format} frame" if self.frame else "the model"
            raise FrameError(f"{what} is {len(self.inputs)} tensor(s) ({names}); got {len(tensors)}")
        buffers = [self._wrap_input(value, tensor) for value, tensor in zip(tensors, self.inputs)]
        if self.frame is not None:
            self._check_frame(buffers)
        for buffer, tensor in zip(buffers, self.inputs):
            self._check_layout(buffer, tensor)
        return buffers

    def _wrap_input(self, value, tensor: InputTensor) -> ExternalBuffer:
        try:
            buffer = ExternalBuffer.wrap(value)
        except BufferError as error:
            raise FrameError(f"{tensor.name} cannot be read in place: {error}") from error
        if self.cuda and buffer.kind in ("host", "pinned"):
            raise FrameError(
                f"{tensor.name} is in {buffer.kind} memory, and this engine runs on CUDA; give memory the GPU sees: "
                "ExternalBuffer.allocate(..., kind='mapped', 'managed' or 'device')"
            )
        if not self.cuda and buffer.kind == "device":
            raise FrameError(f"{tensor.name} is in CUDA device memory; this engine runs on the CPU: give host memory")
        if str(buffer.dtype) != tensor.dtype:
            raise FrameError(f"{tensor.name} has dtype {buffer.dtype}; it must be {tensor.dtype}")
        return buffer

    def _check_frame(self, buffers: list[ExternalBuffer]) -> None:
        """Shapes against the frame's format and size."""
        frame, shapes = self.frame, [buffer.shape for buffer in buffers]
        if frame.batch > 1:
            for tensor, shape in zip(self.inputs, shapes):
                if len(shape) != len(tensor.shape) or shape[0] != frame.batch:
                    raise FrameError(
                        f"{tensor.name} has shape {shape}; this engine takes {frame.batch} frames at once: shape "
                        f"({frame.batch}, ...) with {len(tensor.shape)} axes"
                    )
            shapes = [shape[1:] for shape in shapes]
        try:
            height, width = frame.size_of(shapes[0])
        except SpecError as error:
            raise FrameError(str(error)) from error
        if not frame.dynamic and (height, width) != (frame.height, frame.width):
            raise FrameError(
                f"the frame is {width}x{height}; this engine was compiled for {frame.width}x{frame.height} "
                "(compile with Frame(height=None, width=None) for any size)"
            )
        for tensor, shape, expected in zip(self.inputs, shapes, frame.shapes(height, width)):
            if tuple(shape) != tuple(expected):
                raise FrameError(
                    f"{tensor.name} has shape {shape}; in a {frame.format} frame of {width}x{height} it is {expected}"
                )

    def _check_layout(self, buffer: ExternalBuffer, tensor: InputTensor) -> None:
        """Shape and strides against what the kernels address."""
        fits = len(buffer.shape) == len(tensor.shape) and all(
            extent in (None, size) for extent, size in zip(tensor.shape, buffer.shape)
        )
        if not fits:
            wanted = tuple("any" if extent is None else extent for extent in tensor.shape)
            raise FrameError(f"{tensor.name} has shape {buffer.shape}; it must be {wanted}")
        if buffer.is_dense:
            strides_fit = tensor.strides is None or self._strides_fit(buffer, tensor.strides)
        else:
            strides_fit = tensor.strides is not None and self._strides_fit(buffer, tensor.strides)
        if not strides_fit:
            raise FrameError(self._stride_message(buffer, tensor))

    @staticmethod
    def _strides_fit(buffer: ExternalBuffer, wanted: tuple) -> bool:
        return all(
            size == 1 or element is None or stride == element * buffer.dtype.itemsize
            for size, stride, element in zip(buffer.shape, buffer.strides, wanted)
        )

    def _stride_message(self, buffer: ExternalBuffer, tensor: InputTensor) -> str:
        came = f"{tensor.name} of shape {buffer.shape} has strides {buffer.strides} bytes"
        if self.frame is not None and self.frame.pitch is not None:
            return f"{came}; this engine was compiled for rows of {self.frame.pitch} bytes (Frame(pitch=...))"
        if tensor.strides is None:
            return f"{came}; it must be dense (C order)"
        return f"{came}; rows may be padded, samples within a row may not (a cropped, flipped or transposed view?)"

    # --- outputs ----------------------------------------------------------------------------------------------------

    def allocate_output(self, device_id: int = 0) -> ExternalBuffer:
        """One buffer for all outputs, zeroed host memory (managed memory for a CUDA engine)."""
        kind = "managed" if self.cuda else "host"
        return ExternalBuffer.allocate((self.output_nbytes,), "uint8", kind=kind, device_id=device_id)

    def device_of(self, buffers) -> int:
        """The CUDA device that all of the buffers are on; 0 for a CPU engine.

        Raises
        ------
        BufferError
            If they are on several devices.
        """
        devices = sorted({buffer.device_id for buffer in buffers}) if self.cuda else [0]
        if len(devices) > 1:
            raise BufferError(f"input and output are on CUDA devices {', '.join(map(str, devices))}; give both on one")
        return devices[0]

    def wrap_outputs(self, given) -> dict[str, ExternalBuffer]:
        """The caller's memory for each output: a mapping by name, or one buffer for all of them.

        Raises
        ------
        BufferError
            If an output is missing, unknown, read-only, too small, not dense, of another shape or dtype, or overlaps
            another.
        """
        if isinstance(given, dict):
            if set(given) != set(self.outputs):
                raise BufferError(f"outputs are {', '.join(self.outputs)}; got {', '.join(map(str, given)) or 'none'}")
            buffers = {name: self._wrap_output(name, given[name]) for name in self.outputs}
            for name, buffer in buffers.items():
                for other in list(buffers)[: list(buffers).index(name)]:
                    if buffer.overlaps(buffers[other]):
                        raise BufferError(f"outputs {other} and {name} share memory; give each its own")
            return buffers
        whole = ExternalBuffer.wrap(given, writable=True)
        if not whole.is_dense or whole.nbytes < self.output_nbytes:
            raise BufferError(
                f"outputs need one dense buffer of {self.output_nbytes} bytes (engine.allocate_output() makes one); "
                f"got {whole!r}"
            )
        self._check_device(whole, "the output buffer")
        return {
            name: whole.view(field.shape, dtype=field.dtype, offset=field.offset)
            for name, field in self.outputs.items()
        }

    def _wrap_output(self, name: str, value) -> ExternalBuffer:
        field = self.outputs[name]
        buffer = ExternalBuffer.wrap(value, writable=True)
        if buffer.shape != field.shape or str(buffer.dtype) != field.dtype or not buffer.is_dense:
            raise BufferError(f"output {name} must be dense {field.dtype} {field.shape}; got {buffer!r}")
        self._check_device(buffer, f"output {name}")
        return buffer

    def _check_device(self, buffer: ExternalBuffer, what: str) -> None:
        if self.cuda and buffer.kind in ("host", "pinned"):
            raise BufferError(f"{what} is in {buffer.kind} memory; this engine runs on CUDA: give memory the GPU sees")
        if not self.cuda and buffer.kind == "device":
            raise BufferError(f"{what} is in CUDA device memory; this engine runs on the CPU")
        if self.cuda and buffer.address % ALIGNMENT:
            raise BufferError(f"{what} starts at {buffer.address:#x}; on CUDA it must be a multiple of {ALIGNMENT}")
