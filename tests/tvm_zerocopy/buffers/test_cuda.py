"""CUDA kinds: their logic against a stand-in for the bindings (always), and the same on a GPU where there is one."""

import gc
import inspect

import numpy as np
import pytest
from fake_bindings import FakeBindings

from tvm_zerocopy import ExternalBuffer
from tvm_zerocopy.buffers import cuda
from tvm_zerocopy.errors import BufferError, UnsupportedError


@pytest.fixture
def fake(fake_bindings):
    return fake_bindings()


@pytest.fixture
def xavier(fake_bindings):
    return fake_bindings(concurrent=0)


@pytest.mark.parametrize(
    "kind, call",
    [
        ("pinned", ("cudaHostAlloc", (64, 1))),
        ("mapped", ("cudaHostAlloc", (64, 3))),
        ("managed", ("cudaMallocManaged", (64, 1))),
        ("device", ("cudaMalloc", (64,))),
    ],
)
def test_allocates_on_the_device_asked_for_and_gives_back_after_the_last_user(fake, kind, call):
    buffer = ExternalBuffer.allocate(64, kind=kind, device_id=3)
    assert call in fake.calls
    assert fake.called("cudaSetDevice") == [(3,), (0,)]  # and back to the caller's device
    last = buffer.tensor()
    buffer.free()
    del buffer
    gc.collect()
    assert fake.live
    del last
    gc.collect()
    assert not fake.live  # the stand-in checks that the right function freed it, once


@pytest.mark.parametrize("kind", ["mapped", "managed"])
def test_shared_memory_is_cuda_to_kernels_and_host_to_numpy_at_one_address(fake, kind):
    buffer = ExternalBuffer.allocate((4, 5, 3), kind=kind, pitch=32, device_id=1)
    tensor = buffer.tensor(writable=True)
    assert buffer.__dlpack_device__() == (2, 1) and str(tensor.device) == "cuda:1"
    assert tensor.strides == (32, 3, 1)
    interface = buffer.__cuda_array_interface__
    assert interface["data"] == (buffer.address, False) and interface["strides"] == (32, 3, 1)
    assert tensor.data_ptr() == buffer.address == buffer.numpy().ctypes.data
    again = ExternalBuffer.wrap(tensor)
    assert (again.address, again.kind, again.device_id, again.strides) == (buffer.address, "device", 1, (32, 3, 1))


def test_pinned_memory_is_host_memory(fake):
    buffer = ExternalBuffer.allocate(16, kind="pinned")
    assert buffer.__dlpack_device__() == (1, 0) and not hasattr(buffer, "__cuda_array_interface__")
    with buffer.for_device():  # a program on the CPU: nothing to wait for
        pass
    with buffer.for_host() as array:
        array[:] = 1
    assert not fake.called("cudaStreamSynchronize")
    with buffer.for_device(stream=7):  # a copy on a stream
        pass
    with buffer.for_host():
        assert fake.called("cudaStreamSynchronize") == [(7,)]


def test_device_memory_is_not_shown_to_the_host(fake):
    buffer = ExternalBuffer.allocate(16, kind="device")
    for look in (buffer.numpy, lambda: buffer.for_host().__enter__(), lambda: np.from_dlpack(buffer)):
        with pytest.raises((BufferError, RuntimeError)):
            look()
    assert not hasattr(buffer, "__array_interface__")
    assert buffer.tensor().data_ptr() == buffer.address


def test_host_waits_for_submitted_work_once(fake):
    buffer = ExternalBuffer.allocate(16, kind="managed")
    with buffer.for_device(stream=5):
        pass
    with buffer.for_host():
        pass
    with buffer.for_host():
        pass
    assert fake.called("cudaStreamSynchronize") == [(5,)]
    assert not fake.called("cudaStreamAttachMemAsync")


def test_two_streams_are_ordered_and_exports_wait(fake):
    buffer = ExternalBuffer.allocate(16, kind="managed")
    with buffer.for_device(stream=5):
        pass
    with buffer.for_device(stream=6):
        pass
    assert fake.called("cudaStreamSynchronize") == [(5,)]
    buffer.__dlpack__(stream=-1)
    assert fake.called("cudaStreamSynchronize") == [(5,)]
    buffer.__dlpack__(stream=1)
    assert fake.called("cudaStreamSynchronize") == [(5,), (6,)]
    with buffer.for_device(stream=8):
        pass
    buffer.free()
    assert fake.called("cudaStreamSynchronize")[-1] == (8,)


@pytest.mark.parametrize("stream, way", [(5, 4), (None, 1)])
def test_xavier_moves_managed_memory_between_host_and_stream(xavier, stream, way):
    buffer = ExternalBuffer.allocate(16, kind="managed")
    assert xavier.called("cudaMallocManaged") == [(16, xavier.cudaMemAttachHost)]
    with buffer.for_host() as array:  # at first the host has it: no call
        array[:] = 1
    with buffer.for_device(stream), buffer.for_device(stream):
        pass
    with buffer.for_host():
        pass
    handle = stream or 0
    assert xavier.called("cudaStreamAttachMemAsync") == [(handle, buffer.address, way), (handle, buffer.address, 2)]
    names = [name for name, _ in xavier.calls if "Stream" in name]
    assert names == ["cudaStreamAttachMemAsync", "cudaStreamAttachMemAsync", "cudaStreamSynchronize"]


@pytest.mark.parametrize("kind, call", [("managed", "cudaMallocManaged"), ("pinned", "cudaHostAlloc")])
def test_a_refused_call_names_itself_and_the_reason(fake_bindings, kind, call):
    bindings = fake_bindings(fail=call)
    message = f"{call} failed: out of memory .16 bytes were asked for, 1000 of the GPU's 4000 are free.; close other"
    with pytest.raises(UnsupportedError, match=message):
        ExternalBuffer.allocate(16, kind=kind)
    assert bindings.current == 0 and not bindings.live


def test_mapped_memory_at_two_addresses_is_refused_and_freed(fake_bindings):
    bindings = fake_bindings(device_offset=4096)
    with pytest.raises(UnsupportedError, match="no unified addressing"):
        ExternalBuffer.allocate(16, kind="mapped")
    assert not bindings.live


def test_coarser_alignment_than_cuda_gives_is_refused(fake):
    with pytest.raises(BufferError, match="byte aligned"):
        for _ in range(64):  # pages lie at multiples of 4096; of 2**40 hardly
            ExternalBuffer.allocate(16, kind="managed", alignment=1 << 40)
    gc.collect()
    assert not fake.live


class CudaArray:
    def __init__(self, address, stream=None, read_only=False):
        self.__cuda_array_interface__ = {
            "shape": (4, 2),
            "typestr": "<f4",
            "strides": (16, 4),
            "data": (address, read_only),
            "version": 3,
            "stream": stream,
        }


def test_wraps_the_cuda_array_interface(fake):
    managed = ExternalBuffer.allocate(64, kind="managed")
    buffer = ExternalBuffer.wrap(CudaArray(managed.address, stream=9))
    assert (buffer.address, buffer.kind, buffer.shape, buffer.strides) == (managed.address, "managed", (4, 2), (16, 4))
    assert fake.called("cudaStreamSynchronize") == [(9,)]
    device = ExternalBuffer.allocate(64, kind="device")
    assert ExternalBuffer.wrap(CudaArray(device.address, read_only=True)).kind == "device"
    with pytest.raises(BufferError, match="read-only"):
        ExternalBuffer.wrap(CudaArray(device.address, read_only=True)).__dlpack__()


def test_missing_bindings_name_the_mend(monkeypatch):
    monkeypatch.setattr(cuda, "MODULES", ("no_such_cuda_module",))
    cuda.runtime.cache_clear()
    try:
        with pytest.raises(UnsupportedError, match=r"pip install 'tvm-zerocopy\[cuda\]'"):
            ExternalBuffer.allocate(16, kind="managed")
    finally:
        cuda.runtime.cache_clear()


def test_the_stand_in_has_the_real_bindings_names(fake):
    real = pytest.importorskip("cuda.bindings.runtime", reason="cuda-bindings is not installed")
    for name in (n for n in dir(fake) if n.startswith("cuda") and callable(getattr(fake, n))):
        assert hasattr(real, name), name
    for group in ("cudaError_t", "cudaDeviceAttr", "cudaMemoryType"):
        for name in vars(getattr(fake, group)):
            assert int(getattr(getattr(real, group), name)) == vars(getattr(fake, group))[name]
    for name in ("cudaMemAttachGlobal", "cudaMemAttachHost", "cudaMemAttachSingle", "cudaHostAllocMapped"):
        assert getattr(real, name) == getattr(fake, name)


class TorchStream:
    cuda_stream = 11


class CoreStream:
    def __cuda_stream__(self):
        return 0, 12


@pytest.mark.parametrize("stream, handle", [(None, 0), (5, 5), (TorchStream(), 11), (CoreStream(), 12)])
def test_streams_of_all_libraries(stream, handle):
    assert cuda.stream_handle(stream) == handle


@pytest.fixture
def gpu():
    try:
        runtime = cuda.runtime()
        runtime.synchronize(0)
    except UnsupportedError as error:
        pytest.skip(f"no CUDA GPU: {error}")
    return runtime


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["mapped", "managed"])
def test_the_device_writes_where_the_host_reads(gpu, kind):
    from cuda.bindings import runtime as api

    buffer = ExternalBuffer.allocate((64, 64), "float32", kind=kind)
    with buffer.for_host() as array:
        array[...] = 2
    with buffer.for_device():
        assert api.cudaMemsetAsync(buffer.address, 0, buffer.nbytes, 0)[0] == 0
    with buffer.for_host() as array:
        assert not array.any()


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["mapped", "managed", "device"])
def test_gpu_memory_comes_back(gpu, kind):
    from cuda.bindings import runtime as api

    before = api.cudaMemGetInfo()[1]
    for _ in range(20):
        ExternalBuffer.allocate(64 << 20, kind=kind).free()
    assert before - api.cudaMemGetInfo()[1] < 64 << 20


def test_nvidia_s_bindings_have_the_functions_of_their_stand_in():
    real = pytest.importorskip("cuda.bindings.runtime", reason="needs NVIDIA's bindings; pip install cuda-bindings")
    names = [name for name in vars(FakeBindings) if name.startswith("cuda") and callable(getattr(FakeBindings, name))]
    assert len(names) > 20
    for name in names:
        signature = getattr(real, name).__doc__.splitlines()[0]  # "cudaMalloc(size_t size)"
        taken = [part for part in signature[len(name) + 1 : -1].split(",") if part.strip()]
        ours = list(inspect.signature(getattr(FakeBindings, name)).parameters)[1:]
        required = [part for part in taken if "=" not in part]
        assert signature.startswith(name) and len(required) <= len(ours) <= len(taken), (signature, ours)
    for kind in ("cudaError_t", "cudaDeviceAttr", "cudaMemoryType", "cudaStreamCaptureMode", "cudaMemcpyKind"):
        for constant, value in vars(getattr(FakeBindings, kind)).items():
            assert int(getattr(getattr(real, kind), constant)) == value, constant
