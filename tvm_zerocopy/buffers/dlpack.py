"""DLPack and numpy views of memory at a known address, in both directions, without consuming or copying anything.

Reading: a producer's capsule is looked into (structures: dlpack.h 1.0) and kept, unconsumed; when it is dropped, its
own destructor gives the memory back to the producer. Writing: numpy makes the capsule, and with it a deleter that is
right in any thread and after the interpreter's end; for memory that CUDA sees, only the device field is set.
"""

from __future__ import annotations

import ctypes

import numpy as np

from ..errors import BufferError
from . import cuda
from .layout import Layout, row_major
from .memory import CUDA_VISIBLE, Memory

CPU, CUDA, CUDA_HOST, CUDA_MANAGED = 1, 2, 3, 13
KIND_OF_DEVICE = {CPU: "host", CUDA: "device", CUDA_HOST: "pinned", CUDA_MANAGED: "managed"}
_TYPE_CODES = {0: "i", 1: "u", 2: "f", 6: "b"}  # DLDataTypeCode -> numpy kind
_READ_ONLY = 1  # DLPACK_FLAG_BITMASK_READ_ONLY


class _Tensor(ctypes.Structure):  # DLTensor
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class _Versioned(ctypes.Structure):  # DLManagedTensorVersioned
    _fields_ = [
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", _Tensor),
    ]


_pointer_of = ctypes.pythonapi.PyCapsule_GetPointer
_pointer_of.restype = ctypes.c_void_p
_pointer_of.argtypes = [ctypes.py_object, ctypes.c_char_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype = ctypes.c_int
_is_valid.argtypes = [ctypes.py_object, ctypes.c_char_p]


def read(producer) -> tuple[Memory, Layout]:
    """The memory and layout that an object with ``__dlpack__`` offers, uncopied.

    Raises
    ------
    BufferError
        If the producer refuses, or offers a dtype, device or layout that cannot be read in place.
    """
    try:
        device_type, device_id = (int(field) for field in producer.__dlpack_device__())
        try:
            capsule = producer.__dlpack__(max_version=(1, 0))
        except TypeError:  # a producer from before DLPack 1.0
            capsule = producer.__dlpack__()
    except Exception as error:  # each library has its own reasons and error classes
        raise BufferError(f"{type(producer).__name__} refuses to share its memory: {error}") from error
    if device_type not in KIND_OF_DEVICE:
        raise BufferError(f"memory on DLPack device type {device_type}; it must be on the CPU or a CUDA device")
    if device_type in (CUDA, CUDA_MANAGED):
        # Asked without a stream, the producer made the default stream wait for its work; ours do not wait for that one.
        cuda.runtime().synchronize(cuda.DEFAULT_STREAM, device_id)
    writable = True
    if _is_valid(capsule, b"dltensor_versioned"):
        versioned = _Versioned.from_address(_pointer_of(capsule, b"dltensor_versioned"))
        if versioned.major != 1:
            raise BufferError(f"DLPack version {versioned.major}.{versioned.minor}; only 0.x and 1.x are known")
        tensor, writable = versioned.tensor, not versioned.flags & _READ_ONLY
    elif _is_valid(capsule, b"dltensor"):
        tensor = _Tensor.from_address(_pointer_of(capsule, b"dltensor"))
    else:
        raise BufferError(f"{type(producer).__name__}.__dlpack__ returned no DLPack capsule")
    if tensor.code not in _TYPE_CODES or tensor.lanes != 1 or tensor.bits % 8:
        raise BufferError(
            f"DLPack dtype (code {tensor.code}, {tensor.bits} bits, {tensor.lanes} lanes) cannot be read in place; it "
            "must be a bool, integer or float"
        )
    dtype = np.dtype(f"{_TYPE_CODES[tensor.code]}{tensor.bits // 8}")
    shape = tuple(tensor.shape[axis] for axis in range(tensor.ndim))
    strides = row_major(shape, dtype.itemsize)
    if tensor.strides:
        strides = tuple(tensor.strides[axis] * dtype.itemsize for axis in range(tensor.ndim))
    layout = Layout.make(shape, dtype, strides)
    memory = Memory(
        (tensor.data or 0) + tensor.byte_offset,
        layout.nbytes,
        KIND_OF_DEVICE[device_type],
        device_id,
        writable,
        owner=(capsule, producer),
    )
    return memory, layout


class _Span:
    """What numpy asks for the address; the array it makes holds this object, and so the memory."""

    def __init__(self, memory: Memory, layout: Layout, writable: bool):
        self.memory = memory
        self.__array_interface__ = array_interface(memory, layout, writable)


def array_interface(memory: Memory, layout: Layout, writable: bool) -> dict:
    """Version 3 of numpy's (and, with a stream, CUDA's) array interface."""
    return {
        "shape": layout.shape,
        "typestr": layout.dtype.str,
        "strides": None if layout.is_dense else layout.strides,
        "data": (memory.address, not writable),
        "version": 3,
    }


def numpy_view(memory: Memory, layout: Layout, writable: bool) -> np.ndarray:
    """An array over the memory itself, which it keeps alive. The caller knows that the host may look there."""
    return np.asarray(_Span(memory, layout, writable))


def capsule(memory: Memory, layout: Layout):
    """A DLPack capsule (the unversioned form, which every consumer takes) on the device that kernels see.

    DLPack's unversioned form cannot say "read-only": the caller keeps it away from writers.
    """
    view = numpy_view(memory, layout, writable=True)  # numpy refuses to export read-only arrays in this form
    if not hasattr(view, "__dlpack__"):
        raise BufferError(f"numpy {np.__version__} has no DLPack; numpy 1.22 or newer is needed")
    made = view.__dlpack__()
    if memory.kind in CUDA_VISIBLE:
        tensor = _Tensor.from_address(_pointer_of(made, b"dltensor"))
        tensor.device_type, tensor.device_id = CUDA, memory.device_id
    return made
