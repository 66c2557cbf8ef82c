import builtins
import gc
import mmap
import weakref

import numpy as np
import pytest
import tvm_ffi
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy import ExternalBuffer
from tvm_zerocopy.errors import BufferError

try:
    import torch
except ImportError:  # it is no dependency; its cases are skipped without it
    torch = None
needs_torch = pytest.mark.skipif(torch is None, reason="torch is not installed")


@given(
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    dtype=st.sampled_from(["uint8", "int32", "float32", "float64", "bool"]),
    alignment=st.sampled_from([16, 64, 256, "page"]),
    extra=st.integers(0, 40),
)
def test_allocated_memory_is_aligned_zeroed_and_seen_by_all_at_one_address(shape, dtype, alignment, extra):
    row = int(np.prod(shape[1:])) * np.dtype(dtype).itemsize
    buffer = ExternalBuffer.allocate(shape, dtype, alignment=alignment, pitch=row + extra // 8 * 8)
    assert buffer.address % (mmap.PAGESIZE if alignment == "page" else alignment) == 0
    array, tensor = buffer.numpy(), buffer.tensor(writable=True)
    assert not array.any()
    assert array.ctypes.data == tensor.data_ptr() == buffer.address
    array[...] = np.arange(array.size).reshape(shape) % 2
    others = [np.from_dlpack(tensor), np.from_dlpack(buffer), np.asarray(buffer)]
    for other in others + ([torch.from_dlpack(buffer).numpy()] if torch else []):
        assert other.shape == tuple(shape) and np.shares_memory(other, array)
        np.testing.assert_array_equal(other, array)


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.zeros((4, 6), np.int16)[:, 1:4],
        pytest.param(lambda: torch.zeros(4, 6, dtype=torch.int16)[:, 1:4], marks=needs_torch),
        lambda: tvm_ffi.from_dlpack(np.zeros((4, 6), np.int16)[:, 1:4]),
        lambda: ExternalBuffer.allocate((4, 3), np.int16, pitch=12),
    ],
    ids=["numpy", "torch", "tvm", "external"],
)
def test_wraps_strided_arrays_where_they_are(make):
    obj = make()
    buffer = ExternalBuffer.wrap(obj)
    assert (buffer.shape, buffer.strides, buffer.dtype) == ((4, 3), (12, 2), np.int16)
    address = {np.ndarray: lambda a: a.ctypes.data, ExternalBuffer: lambda a: a.address}
    assert buffer.address == address.get(type(obj), lambda a: a.data_ptr())(obj)
    buffer.numpy()[2, 1] = 7
    assert np.from_dlpack(obj)[2, 1] == 7


@pytest.mark.parametrize("make", [lambda: bytearray(24), lambda: mmap.mmap(-1, 24), lambda: memoryview(bytearray(24))])
def test_wraps_the_buffer_protocol(make):
    obj = make()
    buffer = ExternalBuffer.wrap(obj).view((2, 3), pitch=12)
    buffer.numpy()[1, 2] = 9
    assert obj[14] == 9


def test_wraps_the_planes_of_a_decoded_frame():
    av = pytest.importorskip("av")
    frame = av.VideoFrame.from_ndarray(np.arange(36 * 46, dtype=np.uint8).reshape(36, 46)[:, :].copy(), format="gray")
    plane = frame.planes[0]
    rows = ExternalBuffer.wrap(plane).view((36, 46), pitch=plane.line_size)
    assert rows.address == plane.buffer_ptr
    np.testing.assert_array_equal(rows.numpy(), frame.to_ndarray())


@pytest.mark.parametrize(
    "obj, says",
    [
        (np.zeros((4, 4))[::-1], "negative"),
        (np.broadcast_to(np.zeros(4), (3, 4)), "overlap"),
        (np.zeros((0, 4)), "no elements"),
        (np.zeros(4, ">f4"), "byte-swapped"),
        (np.array([None]), "cannot be read by a kernel"),
        (np.zeros(9, np.uint8)[1:].view("V8").view([("a", "f4"), ("b", "f4")]), "cannot be read by a kernel"),
        (np.zeros(9, np.uint8)[1:].view(np.float32), "not aligned"),
        ("text", "shares no memory"),
        ([1, 2], "shares no memory"),
        (b"", "no elements"),
    ],
)
def test_refuses_what_cannot_be_read_in_place(obj, says):
    with pytest.raises(BufferError, match=says):
        ExternalBuffer.wrap(obj)


@needs_torch
def test_refuses_torch_tensors_that_cannot_be_read_in_place():
    for tensor, says in [
        (torch.zeros(4, requires_grad=True), "refuses to share"),
        (torch.zeros(4, dtype=torch.bfloat16), "must be a bool, integer or float"),
        (torch.zeros(4, 4).to_sparse(), "refuses to share"),
        (torch.zeros(3, 1).expand(3, 4), "overlap"),
    ]:
        with pytest.raises(BufferError, match=says):
            ExternalBuffer.wrap(tensor)


def frozen():
    array = np.arange(64, dtype=np.uint8)
    array.flags.writeable = False
    return array


def test_read_only_memory_is_input_only():
    array = frozen()
    buffer = ExternalBuffer.wrap(array)
    assert not buffer.writable and not buffer.numpy().flags.writeable
    assert buffer.tensor().data_ptr() == array.ctypes.data
    for refused in (
        lambda: buffer.tensor(writable=True),
        lambda: ExternalBuffer.wrap(array, writable=True),
        lambda: ExternalBuffer.wrap(b"1234", writable=True),
        lambda: buffer.__dlpack__(),
    ):
        with pytest.raises(BufferError, match="read-only"):
            refused()
    with pytest.raises(ValueError):
        buffer.numpy()[0] = 1
    assert not ExternalBuffer.wrap(np.zeros(8), writable=False).writable


def test_read_only_travels_through_dlpack_1():
    class Versioned:  # numpy's own capsule of a read-only array, in the form that can say so
        array = frozen()

        def __dlpack_device__(self):
            return 1, 0

        def __dlpack__(self, max_version=None):
            return self.array.__dlpack__(max_version=max_version)

    buffer = ExternalBuffer.wrap(Versioned())
    assert not buffer.writable and buffer.address == Versioned.array.ctypes.data
    assert not np.from_dlpack(buffer).flags.writeable


def test_memory_outlives_the_buffer_in_any_order():
    owner = np.arange(100, dtype=np.float32)
    alive = weakref.ref(owner)
    buffer = ExternalBuffer.wrap(owner)
    users = [buffer.numpy(), buffer.tensor(), np.from_dlpack(buffer), buffer.__dlpack__(), buffer.view(50).numpy()]
    users += [torch.from_dlpack(buffer)] if torch else []
    del owner
    buffer.free()
    del buffer
    while users:
        gc.collect()
        assert alive() is not None
        if hasattr(users[0], "shape"):
            assert float(np.from_dlpack(users[0]).sum()) in (4950.0, 1225.0)
        users.pop(0)
    gc.collect()
    assert alive() is None


def test_consumers_of_capsules_may_die_first_or_never_take_them():
    buffer = ExternalBuffer.allocate(1000)
    for _ in range(2000):
        buffer.__dlpack__()
        ExternalBuffer.wrap(tvm_ffi.from_dlpack(buffer)).free()
    buffer.numpy()[...] = 3
    assert int(buffer.numpy().sum()) == 3000


def test_an_array_taken_by_address_survives_free():
    buffer = ExternalBuffer.allocate(1 << 20)
    array = np.asarray(buffer)
    buffer.free()
    array[...] = 5  # would be a write into freed memory
    other = ExternalBuffer.allocate(1 << 20)
    assert not other.numpy().any() and array.min() == 5


def test_a_freed_buffer_is_refused_everywhere():
    buffer = ExternalBuffer.allocate(8)
    view = buffer.view(4)
    assert ExternalBuffer.wrap(buffer) is buffer
    buffer.free()
    assert buffer.freed and "freed" in repr(buffer)
    for use in (
        view.numpy,
        view.check,
        buffer.numpy,
        buffer.tensor,
        buffer.check,
        buffer.free,
        buffer.synchronize,
        buffer.__dlpack__,
        lambda: buffer.address,
        lambda: buffer.view(4),
        lambda: buffer.for_host().__enter__(),
        lambda: buffer.for_device().__enter__(),
        lambda: ExternalBuffer.wrap(buffer),
        lambda: np.from_dlpack(buffer),
    ):
        with pytest.raises(BufferError, match="has been freed"):
            use()


def test_owners_cannot_be_resized_meanwhile():
    block = bytearray(64)
    array = np.zeros(64)
    wrapped = ExternalBuffer.wrap(block)
    also = ExternalBuffer.wrap(array)
    with pytest.raises(builtins.BufferError):
        block.extend(bytes(64))
    with pytest.raises(ValueError):
        array.resize(1 << 20, refcheck=False)
    pages = mmap.mmap(-1, 64)
    kept = ExternalBuffer.wrap(pages)
    with pytest.raises(builtins.BufferError):
        pages.close()
    kept.free()
    pages.close()
    wrapped.free()
    block.extend(bytes(64))
    also.check()


@needs_torch
def test_a_tensor_that_moved_is_noticed():
    tensor = torch.zeros(64)
    buffer = ExternalBuffer.wrap(tensor)
    buffer.check()
    tensor.resize_(1 << 20)
    for use in (buffer.check, buffer.tensor, buffer.__dlpack__, buffer.view(4).tensor):
        with pytest.raises(BufferError, match="moved its memory"):
            use()


def test_host_and_program_never_hold_it_together():
    buffer = ExternalBuffer.allocate(8)
    with buffer.for_host() as array:
        assert array.ctypes.data == buffer.address
        with pytest.raises(BufferError, match="host is using"), buffer.for_device():
            pass
        with pytest.raises(BufferError, match="in use"):
            buffer.free()
        with buffer.view(4).for_host(), pytest.raises(BufferError, match="host is using"), buffer.view(4).for_device():
            pass
    with buffer.for_device(), buffer.for_device():
        with pytest.raises(BufferError, match="program is using"), buffer.for_host():
            pass
        with pytest.raises(BufferError, match="in use"):
            buffer.free()
    with pytest.raises(RuntimeError), buffer.for_host():
        raise RuntimeError("a capture failed")
    with buffer.for_device():
        pass
    with buffer:
        pass
    assert buffer.freed


def test_pointers_are_given_back_when_the_last_user_is_gone():
    surface = np.arange(4 * 64, dtype=np.uint8)
    given_back = []
    buffer = ExternalBuffer.from_pointer(
        surface.ctypes.data, (4, 20, 3), pitch=64, owner=surface, on_release=lambda: given_back.append(1)
    )
    view = buffer.numpy()
    np.testing.assert_array_equal(view, surface.reshape(4, 64)[:, :60].reshape(4, 20, 3))
    buffer.free()
    assert not given_back
    del view, buffer
    gc.collect()
    assert given_back == [1]


@pytest.mark.parametrize(
    "use, says",
    [
        (lambda b: ExternalBuffer.from_pointer(0, 4), "null"),
        (lambda b: ExternalBuffer.from_pointer(b.address + 1, 4, "int32"), "not aligned"),
        (lambda b: ExternalBuffer.from_pointer(b.address, 4, kind="gpu"), "memory kind is 'gpu'"),
        (lambda b: ExternalBuffer.allocate(4, kind="gpu"), "memory kind is 'gpu'"),
        (lambda b: ExternalBuffer.allocate(4, alignment=48), "power of two"),
        (lambda b: ExternalBuffer.allocate(4, alignment="pages"), "'pages'; it must be a power of two"),
        (lambda b: ExternalBuffer.allocate(1 << 60), "bytes of host memory cannot be had"),
        (lambda b: ExternalBuffer.allocate(1 << 60, alignment="page"), "bytes of host memory cannot be had"),
        (lambda b: b.view(65), "reaches outside"),
        (lambda b: b.view(60, offset=5), "reaches outside"),
        (lambda b: b.view(4, offset=-4), "reaches outside"),
        (lambda b: b.view((2, 8), strides=(60, 1)), "reaches outside"),
        (lambda b: b.__dlpack__(copy=True), "never copied"),
        (lambda b: b.__dlpack__(dl_device=(2, 0)), "not \\(2, 0\\)"),
        (lambda b: b.__dlpack__(stream=1), "no stream"),
    ],
)
def test_says_what_is_wrong(use, says):
    with pytest.raises(BufferError, match=says):
        use(ExternalBuffer.allocate(64))


def test_overlap_is_told():
    buffer = ExternalBuffer.allocate(64)
    assert buffer.view(32).overlaps(buffer.view(32, offset=31))
    assert not buffer.view(32).overlaps(buffer.view(32, offset=32))
