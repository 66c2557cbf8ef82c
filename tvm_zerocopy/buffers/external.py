"""`ExternalBuffer`: memory the caller owns, seen by numpy, DLPack consumers and compiled programs at one address."""

from __future__ import annotations

import builtins
import mmap
import weakref

import numpy as np

from ..errors import BufferError
from . import cuda, dlpack
from .access import CPU, HOST, Access, Hold
from .layout import Layout
from .memory import CUDA_VISIBLE, HOST_VISIBLE, KINDS, Memory, allocate_cuda, allocate_host


class ExternalBuffer:
    """A strided array in memory that somebody owns: allocated here, wrapped, or at a pointer. It is never copied.

    Make one with `allocate`, `wrap` or `from_pointer`.

    Attributes
    ----------
    shape : tuple of int
    strides : tuple of int
        In bytes.
    dtype : numpy.dtype
    kind : {"host", "pinned", "mapped", "managed", "device"}
    writable : bool
    address : int
        Of the first element; the same for host and kernels.

    Notes
    -----
    The memory lives until the last buffer, array, DLPack consumer and binding over it is gone, in whatever order.
    `free` ends the use of this object, its views and bindings at once; arrays and tensors that were handed out before
    stay valid.
    """

    def __init__(self, memory: Memory, layout: Layout, whole: ExternalBuffer | None = None):
        if layout.nbytes > memory.nbytes:
            raise BufferError(f"{layout} needs {layout.nbytes} bytes; the memory has {memory.nbytes}")
        if memory.address % layout.dtype.itemsize:
            raise BufferError(
                f"address {memory.address:#x} is not aligned to the {layout.dtype.itemsize} bytes of {layout.dtype}"
            )
        self._memory = memory
        self._lent = None  # memory whose bare address was told; kept for as long as this object lives
        self._layout = layout
        self._whole = whole  # the buffer that this one is a view of
        self._access = Access() if whole is None else whole._access

    @classmethod
    def allocate(
        cls, shape, dtype="uint8", kind="host", alignment=64, pitch=None, strides=None, device_id=0
    ) -> ExternalBuffer:
        """New memory. Host memory is zeroed; CUDA's is what the runtime gives.

        Parameters
        ----------
        shape : tuple of int
        dtype : numpy dtype
        kind : {"host", "pinned", "mapped", "managed", "device"}
            Ordinary memory; page-locked (fast copies); page-locked and seen by kernels at the same address; shared by
            host and device (``cudaMallocManaged``); the device's own.
        alignment : int or "page"
            Of the first byte; a power of two. CUDA's own alignment is 256 bytes or better.
        pitch : int, optional
            Bytes from one row (the first axis) to the next, if rows are padded.
        strides : tuple of int, optional
            In bytes, instead of pitch.
        device_id : int
            The CUDA device, for all kinds but "host".

        Raises
        ------
        BufferError
            If shape, dtype, pitch, strides, alignment or kind is impossible.
        UnsupportedError
            If CUDA, its bindings or a GPU is missing.
        """
        layout = Layout.make(shape, dtype, strides, pitch)
        if kind not in KINDS:
            raise BufferError(f"memory kind is {kind!r}; it must be one of {', '.join(KINDS)}")
        alignment = mmap.PAGESIZE if alignment == "page" else alignment
        if kind == "host":
            return cls(allocate_host(layout.nbytes, alignment), layout)
        memory = allocate_cuda(kind, layout.nbytes, device_id)
        if memory.address % alignment:
            raise BufferError(f"CUDA gave {kind} memory at {memory.address:#x}, which is not {alignment}-byte aligned")
        return cls(memory, layout)

    @classmethod
    def wrap(cls, obj, writable: bool | None = None) -> ExternalBuffer:
        """Somebody else's memory, where it is.

        Parameters
        ----------
        obj : numpy array, or any object with ``__dlpack__``, ``__cuda_array_interface__`` or the buffer protocol
            torch, CuPy and TVM tensors; bytearray, mmap, PyAV planes (see `view` for their shape).
        writable : bool, optional
            True: refuse read-only memory. False: treat it as read-only. None: as the object says.

        Raises
        ------
        BufferError
            If the object shares no memory, or its layout or dtype cannot be read in place.
        """
        if isinstance(obj, ExternalBuffer):
            memory, layout = obj._alive(), obj._layout
            if writable is not False and (memory.writable or not writable):
                return obj
        elif isinstance(obj, np.ndarray):
            memory, layout = _read_numpy(obj)
        elif hasattr(obj, "__dlpack__"):
            memory, layout = dlpack.read(obj)
            memory.locate = getattr(obj, "data_ptr", None)  # torch and TVM tensors can tell
        elif hasattr(obj, "__cuda_array_interface__"):
            memory, layout = _read_cuda_array(obj)
        else:
            memory, layout = _read_buffer(obj)
        if writable and not memory.writable:
            raise BufferError(f"the memory of this {type(obj).__name__} is read-only; a writable one is needed")
        if writable is False and memory.writable:
            memory = memory.part(0, memory.nbytes)
            memory.writable = False
        return cls(memory, layout, obj if isinstance(obj, ExternalBuffer) else None)

    @classmethod
    def from_pointer(
        cls,
        address: int,
        shape,
        dtype="uint8",
        strides=None,
        pitch=None,
        kind="host",
        device_id=0,
        writable=True,
        owner=None,
        on_release=None,
    ) -> ExternalBuffer:
        """Memory at an address, as camera APIs hand it out (NvBufSurface's ``dataPtr``, a V4L2 mmap).

        Parameters
        ----------
        address : int
        shape, dtype, strides, pitch
            As of the data there; strides and pitch in bytes.
        kind, device_id
            What memory it is; see `allocate`.
        writable : bool
        owner : object, optional
            Kept alive as long as anything uses the memory.
        on_release : callable, optional
            Called without arguments when nothing uses the memory any more (give the surface back to the camera).

        Raises
        ------
        BufferError
            If the address is null or not aligned to the dtype, or the layout is impossible.
        """
        layout = Layout.make(shape, dtype, strides, pitch)
        memory = Memory(address, layout.nbytes, kind, device_id, writable, owner)
        if on_release is not None:
            weakref.finalize(memory, on_release).atexit = False
        return cls(memory, layout)

    def view(self, shape, dtype=None, strides=None, pitch=None, offset: int = 0) -> ExternalBuffer:
        """The same memory under another layout, from byte ``offset`` on: a PyAV plane as rows, a surface's chroma.

        Raises
        ------
        BufferError
            If it would reach outside this buffer's memory.
        """
        memory = self._alive()
        layout = Layout.make(shape, self.dtype if dtype is None else dtype, strides, pitch)
        if offset < 0 or offset + layout.nbytes > self.nbytes:
            raise BufferError(f"{layout} at byte {offset} reaches outside the buffer's {self.nbytes} bytes")
        return ExternalBuffer(memory.part(offset, layout.nbytes), layout, self)

    # --- what it is -------------------------------------------------------------------------------------------------

    shape = property(lambda self: self._layout.shape)
    strides = property(lambda self: self._layout.strides)
    dtype = property(lambda self: self._layout.dtype)
    nbytes = property(lambda self: self._layout.nbytes, doc="Bytes from first to last, row padding included.")
    is_dense = property(lambda self: self._layout.is_dense, doc="C-order without padding.")
    address = property(lambda self: self._alive().address)
    kind = property(lambda self: self._alive().kind)
    device_id = property(lambda self: self._alive().device_id)
    writable = property(lambda self: self._alive().writable)
    freed = property(lambda self: self._memory is None or (self._whole is not None and self._whole.freed))

    def overlaps(self, other: ExternalBuffer) -> bool:
        """True if the two buffers' address ranges have a byte in common."""
        first, second = sorted((self, other), key=lambda buffer: buffer.address)
        return first.address + first.nbytes > second.address

    def __repr__(self) -> str:
        if self.freed:
            return f"<ExternalBuffer {self._layout}, freed>"
        access = "" if self.writable else ", read-only"
        return f"<ExternalBuffer {self._layout} {self.kind} at {self.address:#x}{access}>"

    # --- who may touch it when --------------------------------------------------------------------------------------

    def for_host(self) -> Hold:
        """``with buffer.for_host() as array``: the host may read and write; submitted device work is waited for first.

        Raises
        ------
        BufferError
            On entry, if the program holds the buffer, it is freed, or it is device memory.
        """
        access = self._access
        return Hold(lambda: access.take_for_host(self._visible_to_host()), self.numpy, lambda: access.release(HOST))

    def for_device(self, stream=None) -> Hold:
        """``with buffer.for_device(stream)``: the program may use it; what it put on ``stream`` may go on after.

        For host memory nothing is called: it states that the program, not a capture, has the buffer.

        Raises
        ------
        BufferError
            On entry, if the host holds the buffer or it is freed.
        """
        if stream is None and self._alive().kind not in CUDA_VISIBLE:
            return self.for_program()
        access, handle = self._access, cuda.stream_handle(stream)
        return Hold(
            lambda: access.take_for_stream(self._alive(), handle),
            lambda: self,
            lambda: access.release_stream(self._alive(), handle),
        )

    def for_program(self) -> Hold:
        """``with buffer.for_program()``: a program on the CPU has it. Submitted device work is waited for first.

        Raises
        ------
        BufferError
            On entry, if the host holds the buffer or it is freed.
        """
        access = self._access
        return Hold(lambda: access.take_for_program(self._alive()), lambda: self, lambda: access.release(CPU))

    def synchronize(self) -> None:
        """Wait until the work that was submitted under `for_device` is done."""
        self._access.synchronize(self._alive())

    def free(self) -> None:
        """End the use of this buffer and of its views; the memory goes back when no array or tensor uses it any more.

        Raises
        ------
        BufferError
            If it is freed already, or held by `for_host` or `for_device` at this moment.
        """
        memory = self._alive()
        if self._access.busy:
            raise BufferError("this buffer is in use (inside for_host() or for_device()); free it after that block")
        self._access.synchronize(memory)
        self._memory = None

    def __enter__(self) -> ExternalBuffer:
        self._alive()
        return self

    def __exit__(self, *_):
        if not self.freed:
            self.free()

    def check(self) -> None:
        """Raise BufferError if the buffer is freed or the wrapped object has moved its memory."""
        self._alive().check_place()

    # --- what others see --------------------------------------------------------------------------------------------

    def numpy(self) -> np.ndarray:
        """The memory as a numpy array at the same address; see `for_host` for when it may be touched.

        Raises
        ------
        BufferError
            If it is device memory, or freed.
        """
        memory = self._visible_to_host()
        return dlpack.numpy_view(memory, self._layout, memory.writable)

    def tensor(self, writable: bool = False):
        """The memory as a TVM tensor, for a compiled program. Read-only memory is given to programs that only read it.

        Raises
        ------
        BufferError
            If ``writable`` and the memory is read-only; if it is freed or has moved.
        """
        import tvm_ffi

        return tvm_ffi.from_dlpack(self.capsule(writable))

    def capsule(self, writable: bool = False):
        """A DLPack capsule for a compiled program, of read-only memory too: the caller gives it to readers only.

        Raises
        ------
        BufferError
            As `tensor`.
        """
        memory = self._alive()
        memory.check_place()
        if writable and not memory.writable:
            raise BufferError("this buffer is read-only; outputs need a writable one")
        return dlpack.capsule(memory, self._layout)

    def __dlpack__(self, *, stream=None, max_version=None, dl_device=None, copy=None):
        memory = self._alive()
        memory.check_place()
        if copy:
            raise BufferError("an ExternalBuffer is never copied; ask for it without copy=True")
        if dl_device is not None and tuple(dl_device) != self.__dlpack_device__():
            raise BufferError(f"this buffer is on DLPack device {self.__dlpack_device__()}, not {tuple(dl_device)}")
        if memory.kind not in CUDA_VISIBLE:
            if stream is not None:
                raise BufferError("host memory has no stream; ask for it without stream")
            view = self.numpy()
            try:  # numpy can say "read-only" to those who understand DLPack 1.0
                return view.__dlpack__(max_version=max_version) if max_version else view.__dlpack__()
            except (TypeError, builtins.BufferError) as error:
                if memory.writable:
                    return view.__dlpack__()
                raise BufferError(
                    f"this buffer is read-only, and its taker knows no read-only memory: {error}"
                ) from error
        if not memory.writable:
            raise BufferError("this buffer is read-only, which DLPack cannot say for CUDA memory here")
        self._access.lend(memory, wait=stream != -1)  # -1: the taker synchronizes by itself
        return dlpack.capsule(memory, self._layout)

    def __dlpack_device__(self) -> tuple[int, int]:
        memory = self._alive()
        return (dlpack.CUDA, memory.device_id) if memory.kind in CUDA_VISIBLE else (dlpack.CPU, 0)

    @property
    def __array_interface__(self) -> dict:
        if self._alive().kind not in HOST_VISIBLE:
            raise AttributeError("device memory has no host address")
        self._lent = self._memory
        return self.numpy().__array_interface__

    @property
    def __cuda_array_interface__(self) -> dict:
        memory = self._alive()
        if memory.kind not in CUDA_VISIBLE:
            raise AttributeError(f"{memory.kind} memory is not presented as CUDA memory")
        self._lent = memory
        self._access.lend(memory)  # "stream": None tells the taker that nothing is left to wait for
        return {**dlpack.array_interface(memory, self._layout, memory.writable), "stream": None}

    def _alive(self) -> Memory:
        if self.freed:
            raise BufferError("this buffer has been freed; allocate or wrap a new one")
        return self._memory

    def _visible_to_host(self) -> Memory:
        memory = self._alive()
        if memory.kind not in HOST_VISIBLE:
            raise BufferError("device memory has no host address; use kind='managed' or 'mapped', or copy it")
        return memory


def _read_numpy(array: np.ndarray) -> tuple[Memory, Layout]:
    layout = Layout.make(array.shape, array.dtype, array.strides)
    owner = (array, *_locks(array))
    return Memory(array.ctypes.data, layout.nbytes, writable=array.flags.writeable, owner=owner), layout


def _locks(obj):
    """A weak reference to every numpy array below: numpy resizes none that has one, not even with refcheck=False."""
    while isinstance(obj, (np.ndarray, memoryview)):
        if isinstance(obj, np.ndarray):
            yield weakref.ref(obj)
        obj = obj.base if isinstance(obj, np.ndarray) else obj.obj


def _read_buffer(obj) -> tuple[Memory, Layout]:
    try:
        exported = memoryview(obj)  # held: a bytearray or mmap cannot be resized or closed meanwhile
    except TypeError as error:
        raise BufferError(
            f"{type(obj).__name__} shares no memory: it has no DLPack, CUDA array interface or buffer protocol"
        ) from error
    except (ValueError, builtins.BufferError) as error:  # a closed mmap, a released memoryview
        raise BufferError(f"{type(obj).__name__} refuses to share its memory: {error}") from error
    return _read_numpy(np.asarray(exported))


def _read_cuda_array(obj) -> tuple[Memory, Layout]:
    interface = obj.__cuda_array_interface__
    layout = Layout.make(interface["shape"], interface["typestr"], interface.get("strides"))
    address, read_only = interface["data"]
    runtime = cuda.runtime()
    kind, device_id = runtime.kind_and_device(address)
    if interface.get("stream") is not None:
        runtime.synchronize(interface["stream"], device_id)
    return Memory(address, layout.nbytes, kind, device_id, not read_only, owner=obj), layout
