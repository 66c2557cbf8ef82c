"""Compilers for CUDA: found without anything being set, used, and one clear line where they are not what is needed."""

import shutil
import subprocess
import warnings

import pytest

from tvm_zerocopy import cuda_toolchain
from tvm_zerocopy.cuda_toolchain import (
    KernelResources,
    assemble,
    compile_source,
    find_toolchain,
    parse_ptxas,
)
from tvm_zerocopy.errors import UnsupportedError, ZeroCopyWarning

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="the fake NVRTC is compiled with a C compiler")

KERNEL = """\
#include <cuda.h>
#include <cuda_fp16.h>
#include <mma.h>
#include <cuda/std/cstdint>
extern "C" __global__ void __launch_bounds__(32) product(half* a, half* b, float* c, cuda::std::int64_t n) {
  using namespace nvcuda::wmma;
  __shared__ half tile[256];
  fragment<matrix_a, 16, 16, 16, half, row_major> left;
  fragment<matrix_b, 16, 16, 16, half, row_major> right;
  fragment<accumulator, 16, 16, 16, float> sum;
  for (int i = threadIdx.x; i < 256; i += 32) tile[i] = a[i];
  __syncthreads();
  fill_fragment(sum, -INFINITY);
  load_matrix_sync(left, tile, 16);
  load_matrix_sync(right, b + n, 16);
  mma_sync(sum, left, right, sum);
  store_matrix_sync(c, sum, 16, mem_row_major);
}
"""
NVRTC = """\
int nvrtcVersion(int* major, int* minor) {{ *major = {major}; *minor = {minor}; return 0; }}
int nvrtcGetNumSupportedArchs(int* count) {{ *count = 2; return 0; }}
int nvrtcGetSupportedArchs(int* archs) {{ archs[0] = {archs[0]}; archs[1] = {archs[1]}; return 0; }}
const char* nvrtcGetErrorString(int status) {{ return "an error"; }}
"""


@pytest.fixture
def toolkit(tmp_path, monkeypatch):
    """A function that makes a toolkit with an NVRTC of some version, and makes it the only one."""
    places = []
    monkeypatch.setattr(cuda_toolchain, "_places", lambda: places)

    def make(major, minor, archs, headers=None):
        root = tmp_path / f"cuda-{major}.{minor}"
        for folder in ("lib64", "include/crt", "include/cuda/std", "bin"):
            (root / folder).mkdir(parents=True)
        source = root / "nvrtc.c"
        source.write_text(NVRTC.format(major=major, minor=minor, archs=archs))
        library = root / "lib64" / f"libnvrtc.so.{major}"
        subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
        for header in cuda_toolchain.HEADERS:
            (root / "include" / header).touch()
        (root / "include" / "cuda.h").write_text(f"#define CUDA_VERSION {(headers or major) * 1000 + minor * 10}\n")
        places.append(cuda_toolchain._toolkit(root))
        return root

    return make


def test_nothing_installed(monkeypatch):
    monkeypatch.setattr(cuda_toolchain, "_places", list)
    with pytest.raises(UnsupportedError, match=r"no libnvrtc.so was found\); pip install 'tvm-zerocopy\[cuda12\]'$"):
        find_toolchain("sm_72")


@needs_cc
def test_cuda_13_does_not_know_xavier(toolkit):
    toolkit(13, 0, (75, 120))
    with pytest.raises(UnsupportedError, match=r"CUDA 13.0 cannot compile for sm_72 .*\[cuda12\]' brings 12.9"):
        find_toolchain("sm_72")
    assert find_toolchain("sm_75").version == (13, 0)
    with pytest.raises(
        UnsupportedError, match="CUDA 13.0 cannot compile for sm_130 .*they know sm_75, sm_120.; install"
    ):
        find_toolchain("sm_130")
    with pytest.raises(UnsupportedError, match="CUDA 13.0 cannot compile for sm_35 .*take a toolkit that knows sm_35"):
        find_toolchain("sm_35")


@needs_cc
def test_the_first_that_knows_the_architecture_is_taken(toolkit):
    toolkit(13, 1, (75, 120))
    toolkit(11, 8, (72, 90))
    assert find_toolchain("sm_72").version == (11, 8)
    assert find_toolchain("sm_75").version == (13, 1)


@needs_cc
def test_a_folder_that_is_named_and_holds_nothing(toolkit, tmp_path, monkeypatch):
    root = toolkit(12, 9, (72, 90))
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "cuda11"))
    with pytest.warns(ZeroCopyWarning, match="CUDA_HOME is .*cuda11, where there is no NVRTC; CUDA 12.9 of .* is used"):
        find_toolchain("sm_72")
    monkeypatch.setenv("CUDA_HOME", str(root))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        find_toolchain("sm_72")


@needs_cc
def test_incomplete_toolkits_are_named(toolkit):
    root = toolkit(12, 9, (72, 90))
    (root / "include" / "mma.h").unlink()
    with pytest.raises(UnsupportedError, match="its header mma.h is not"):
        find_toolchain("sm_72")
    other = toolkit(12, 8, (72, 90), headers=11)
    with pytest.raises(UnsupportedError, match="is CUDA 12 and the headers beside it are CUDA 11"):
        find_toolchain("sm_72")
    (other / "lib64" / "libnvrtc.so.12").write_bytes(b"no library")


def test_names_that_are_no_architecture():
    with pytest.raises(UnsupportedError, match="'volta' is no CUDA architecture; write for example sm_72"):
        find_toolchain("volta")


@pytest.mark.cuda12
def test_machine_code_and_ptx_for_xavier():
    cubin = compile_source(KERNEL, "sm_72")
    assert cubin[:4] == b"\x7fELF"
    assert int.from_bytes(cubin[48:52], "little") & 0xFF == 72  # e_flags
    ptx = compile_source(KERNEL, "sm_72", "ptx")
    assert b".target sm_72" in ptx and b"wmma.mma.sync" in ptx


@pytest.mark.cuda12
def test_what_a_kernel_takes():
    code, kernels = assemble(compile_source(KERNEL, "sm_72", "ptx"), "sm_72")
    assert code[:4] == b"\x7fELF"
    taken = kernels["product"]
    assert taken.shared_bytes == 512 and 16 <= taken.registers <= 255
    assert taken.stack_bytes == taken.spill_store_bytes == taken.spill_load_bytes == 0


@pytest.mark.cuda12
def test_code_that_does_not_compile():
    with pytest.raises(UnsupportedError, match=r"NVRTC of CUDA [\d.]+ refuses the kernels for sm_72: .*nothing"):
        compile_source('extern "C" __global__ void f() { nothing(); }', "sm_72")
    with pytest.raises(UnsupportedError, match="ptxas of CUDA .* refuses the kernels for sm_72: "):
        assemble(b".version 6.1\n.target sm_72\n.address_size 64\nnothing\n", "sm_72")


def test_spills_are_read():
    text = """\
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_72'
ptxas info    : Function properties for first
    96 bytes stack frame, 120 bytes spill stores, 88 bytes spill loads
ptxas info    : Used 64 registers, used 1 barriers, 9216 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_72'
ptxas info    : Function properties for second
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, 380 bytes cmem[0]
"""
    assert parse_ptxas(text) == {
        "first": KernelResources(64, 9216, 96, 120, 88),
        "second": KernelResources(10, 0, 0, 0, 0),
    }
