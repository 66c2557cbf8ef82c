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
    assert not fake.waited
    with buffer.for_device(stream=7):  # a copy on a stream
        pass
    with buffer.for_host():
        assert fake.waited == [7]


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
    assert fake.waited == [5] and len(fake.called("cudaEventDestroy")) == 1
    assert not fake.called("cudaStreamAttachMemAsync")


def test_two_streams_are_ordered_and_exports_wait(fake):
    buffer = ExternalBuffer.allocate(16, kind="managed")
    with buffer.for_device(stream=5):
        pass
    with buffer.for_device(stream=6):
        pass
    assert fake.called("cudaStreamWaitEvent") == [(6, 5)] and not fake.waited  # the host does not wait
    buffer.__dlpack__(stream=-1)
    assert not fake.waited
    buffer.__dlpack__(stream=1)
    assert fake.waited == [6]  # which stands for 5, too
    with buffer.for_device(stream=8):
        pass
    buffer.free()
    assert fake.waited == [6, 8] and not fake.events


def test_a_stream_may_be_destroyed_before_its_work_is_waited_for(fake):
    buffer = ExternalBuffer.allocate(16, kind="managed")
    stream = cuda.runtime().create_stream()
    with buffer.for_device(stream):
        pass
    cuda.runtime().destroy_stream(stream)
    with buffer.for_host():
        assert fake.waited == [stream]


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
    handle, (own,) = stream or 0, xavier.streams
    # To the host on a stream of its own: the other may have work for other frames by now.
    assert xavier.called("cudaStreamAttachMemAsync") == [(handle, buffer.address, way), (own, buffer.address, 2)]
    names = [name for name, _ in xavier.calls if name in ("cudaEventSynchronize", "cudaStreamSynchronize")]
    assert names == ["cudaEventSynchronize", "cudaStreamSynchronize"] and xavier.waited == [handle]


def test_xavier_attaches_whole_allocations_only(xavier):
    """CUDA: the association of a part of a managed allocation cannot be changed. The stand-in refuses it."""
    whole = ExternalBuffer.allocate(64, kind="managed")
    part = whole.view(16, offset=32)
    with part.for_device(stream=5):
        assert xavier.attached[whole.address] == ("stream", 5)
    with part.for_host(), whole.for_host():
        assert xavier.attached[whole.address] == ("host",)


def test_xavier_shares_a_frame_between_two_streams_that_overlap(xavier):
    frame = ExternalBuffer.allocate(16, kind="managed")
    first, second = frame.for_device(stream=5), frame.for_device(stream=6)
    first.__enter__()
    second.__enter__()
    assert xavier.attached[frame.address] == ("all",)
    frame.synchronize()  # as a run does at its end
    assert xavier.attached[frame.address] == ("all",)  # the other still reads it
    second.__exit__(None, None, None)
    xavier.calls.clear()
    first.__exit__(None, None, None)
    with frame.for_host():
        assert 5 in xavier.waited
        assert xavier.attached[frame.address] == ("host",)


def test_a_stream_that_is_still_held_is_waited_for_at_the_end(fake):
    """Work that the first stream gets after the second one has come."""
    buffer = ExternalBuffer.allocate(16, kind="mapped")
    first, second = buffer.for_device(stream=5), buffer.for_device(stream=6)
    first.__enter__()
    second.__enter__()
    second.__exit__(None, None, None)
    first.__exit__(None, None, None)
    with buffer.for_host():
        assert sorted(fake.waited) == [5, 6]


@pytest.mark.parametrize("export", [lambda b: b.__dlpack__(stream=-1), lambda b: b.__cuda_array_interface__])
def test_xavier_lends_to_kernels_of_others_and_takes_back(xavier, export):
    buffer = ExternalBuffer.allocate(16, kind="managed")
    export(buffer)
    assert xavier.attached[buffer.address] == ("all",)
    with buffer.for_host():
        assert xavier.attached[buffer.address] == ("host",)
        with pytest.raises(BufferError, match="host is using"):
            export(buffer)


def test_xavier_s_cpu_reads_managed_memory_as_the_host_does(xavier):
    buffer = ExternalBuffer.allocate(16, kind="managed")
    with buffer.for_device(stream=5), pytest.raises(BufferError, match="program is using"), buffer.for_program():
        pass
    with buffer.for_program(), buffer.for_program():
        assert xavier.attached[buffer.address] == ("host",)
        with pytest.raises(BufferError, match="program is using"), buffer.for_device(stream=5):
            pass
        with pytest.raises(BufferError, match="program is using"), buffer.for_host():
            pass


def test_xavier_leaves_managed_memory_of_others_as_it_is_and_waits_for_the_device(xavier):
    theirs = ExternalBuffer.allocate(64, kind="managed")
    ours = ExternalBuffer.wrap(CudaArray(theirs.address))
    xavier.calls.clear()
    with ours.for_device(stream=5):
        pass
    with ours.for_host():
        assert len(xavier.called("cudaDeviceSynchronize")) == 1
    assert not xavier.called("cudaStreamAttachMemAsync")


def test_what_others_submitted_is_waited_for(fake):
    """A DLPack producer that is asked without a stream orders its work before the default stream, not before ours."""
    managed = ExternalBuffer.allocate(16, kind="managed", device_id=1)

    class Producer:
        def __dlpack_device__(self):
            return 2, 1

        def __dlpack__(self, **_):
            fake.calls.clear()
            return managed.__dlpack__(stream=-1)

    ExternalBuffer.wrap(Producer())
    assert fake.called("cudaStreamSynchronize") == [(0,)] and fake.called("cudaSetDevice") == [(1,), (0,)]
    with managed.for_device(stream=7):
        pass
    assert managed.__cuda_array_interface__["stream"] is None  # nothing is left to wait for
    assert fake.waited == [7]


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
    device = ExternalBuffer.allocate(64, kind="device", device_id=1)
    wrapped = ExternalBuffer.wrap(CudaArray(device.address, read_only=True))
    assert (wrapped.kind, wrapped.device_id) == ("device", 1)
    assert ExternalBuffer.wrap(CudaArray(ExternalBuffer.allocate(64, kind="mapped").address)).kind == "mapped"
    with pytest.raises(UnsupportedError, match="ordinary host memory, which CUDA does not know"):
        ExternalBuffer.wrap(CudaArray(np.zeros(64).ctypes.data))
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
    for kind in (
        "cudaError_t",
        "cudaDeviceAttr",
        "cudaMemoryType",
        "cudaStreamCaptureMode",
        "cudaMemcpyKind",
        "cudaGraphNodeType",
    ):
        for constant, value in vars(getattr(FakeBindings, kind)).items():
            assert int(getattr(getattr(real, kind), constant)) == value, constant
