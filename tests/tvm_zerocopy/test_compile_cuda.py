"""`tz.compile` for a GPU that is not here: machine code for Jetson AGX Xavier, and what ptxas says of every kernel."""

import re
import struct
import time
import warnings

import pytest
import tvm

import tvm_zerocopy as tz
from tvm_zerocopy import cuda_toolchain, device_code
from tvm_zerocopy.cuda_compatibility import ptx_version
from tvm_zerocopy.device_code import cuda_source, packer, portable_ptx, replace_source
from tvm_zerocopy.errors import ArtifactError, UnsupportedError, ZeroCopyWarning
from tvm_zerocopy.models import build
from tvm_zerocopy.schedules import cuda

XAVIER = "nvidia/jetson-agx-xavier"
MODELS = ["yolov5n", "yolov5s", "yolov8n", "yolov8s", "resnet18"]
SECONDS = 60


def needs_toolchain():
    try:
        cuda_toolchain.find_toolchain("sm_72")
    except UnsupportedError as error:
        pytest.skip(str(error))


def compiled(name, precision, size=None):
    options = {"postprocess": None, "preprocess": tz.Preprocess.imagenet()} if name == "resnet18" else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZeroCopyWarning)
        return tz.compile(build(name, size=size), target=XAVIER, precision=precision, **options)


@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize("name", MODELS)
def test_models_compile_for_xavier_without_spills(name, precision):
    needs_toolchain()
    begin = time.process_time()  # not of the clock on the wall: other work must not fail this
    engine = compiled(name, precision)
    assert time.process_time() - begin < SECONDS
    ptx = cuda_toolchain.compile_source(cuda_source(engine.module), "sm_72", "ptx")
    _, kernels = cuda_toolchain.assemble(ptx, "sm_72")
    spilling = {name: k for name, k in kernels.items() if k.spill_store_bytes or k.spill_load_bytes}
    assert kernels and not spilling
    if precision == "float16":
        bodies = dict(re.findall(r"\.entry (\w+)\((.*?)\n}\n", ptx.decode(errors="replace"), re.S))
        convolutions = [kernel for kernel in bodies if "conv2d" in kernel]
        assert convolutions and all("wmma.mma" in bodies[kernel] for kernel in convolutions)


def test_packed_imports_hold_machine_code_in_the_source_s_place(tmp_path):
    needs_toolchain()
    engine = compiled("yolov5n", "float32", 64)
    source = cuda_source(engine.module).encode()
    packed = (tmp_path / "kernels.bin", packer("sm_72")(engine.module, False, "", tmp_path))[0].read_bytes()
    assert struct.unpack_from("<Q", packed)[0] == len(packed) - 8
    assert source not in packed
    assert packed.endswith(cuda_toolchain.compile_source(source.decode(), "sm_72"))
    assert b"cubin" in packed


def test_ptx_takes_the_place_of_machine_code_that_a_driver_has_made():
    source, code, ptx = b"__global__", b"\x7fELF...", b".version 8"

    def serialized(kind, code):
        record = b"".join(struct.pack("<Q", len(part)) + part for part in (kind, code))  # an empty function table
        body = b"".join(struct.pack("<Q", len(part)) + part for part in (b"cuda", record))
        return struct.pack("<Q", len(body)) + body

    assert replace_source(serialized(b"cubin", code), code, ptx, "ptx") == serialized(b"ptx", ptx)
    assert replace_source(serialized(b"cubin", code), source, ptx, "ptx") == serialized(b"cubin", code)


@pytest.mark.parametrize(
    ("arch", "precision", "version"),
    [("sm_72", "float32", (7, 4)), ("sm_72", "float16", (7, 4)), ("sm_90", "float16", (7, 8))],
)
def test_ptx_is_for_drivers_as_old_as_the_code_allows(arch, precision, version):
    """And ptxas makes the same machine code of it as of what NVRTC wrote."""
    needs_toolchain()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ZeroCopyWarning)
        engine = tz.compile(build("yolov8n", size=64), target=f"cuda -arch={arch}", precision=precision)
    source = cuda_source(engine.module)
    older, own = portable_ptx(source, arch), cuda_toolchain.compile_source(source, arch, "ptx")
    assert ptx_version(older) == version < ptx_version(own)
    assert older.replace(b".version %d.%d" % version, b".version %d.%d" % ptx_version(own)) == own
    assert cuda_toolchain.assemble(older, arch) == cuda_toolchain.assemble(own, arch)


def test_ptx_stays_as_it_is_where_ptxas_refuses_older(monkeypatch):
    own = b".version 8.8\n.target sm_100\n"
    monkeypatch.setattr(device_code, "compile_source", lambda *_: own)

    def refuse(code, arch):
        raise UnsupportedError("ptxas refuses")

    monkeypatch.setattr(device_code, "assemble", refuse)
    assert portable_ptx("a source", "sm_100") == own


def test_unknown_serialization_is_refused():
    with pytest.raises(ArtifactError, match="0.27"):
        replace_source(struct.pack("<Q", 6) + b"source", b"source", b"code", "cubin")


def test_other_targets_are_refused():
    with pytest.raises(UnsupportedError, match="llvm or cuda"):
        tz.compile(build("yolov5n", size=64), target='{"kind": "opencl"}')


def test_float16_needs_tensor_cores():
    with pytest.raises(UnsupportedError, match="'float16' is not supported; .*sm_70 and later"):
        tz.compile(build("yolov5n", size=64), target="cuda -arch=sm_62", precision="float16")
    with pytest.raises(UnsupportedError, match="'float16' is not supported; target llvm has float32"):
        tz.compile(build("yolov5n", size=64), precision="float16")


def test_a_kernel_that_would_run_on_the_host_is_refused(monkeypatch):
    monkeypatch.setattr(cuda, "rules", lambda: [])
    with pytest.raises(UnsupportedError, match="kernel .* outside of the GPU's threads"):
        tz.compile(build("yolov5n", size=64), target=XAVIER)


@pytest.mark.cuda12
def test_kernels_for_cuda_where_tvm_has_none(tmp_path):
    """Not "compile it again": it is this machine that lacks something."""
    if tvm.cuda(0).exist:
        pytest.skip("TVM has CUDA here")
    path = tz.compile(build("yolov5n", size=64), target="cuda -arch=sm_72").export(tmp_path / "cuda.so")
    with pytest.raises(UnsupportedError, match="TVM's CUDA runtime is not loaded here: .*doctor.*docs/jetson.md"):
        tz.load(path)
