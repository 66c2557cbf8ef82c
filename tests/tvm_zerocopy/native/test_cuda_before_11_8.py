"""The header with which TVM's CUDA runtime builds for JetPack 5's CUDA 11.4."""

import shutil
import subprocess

import pytest

from tvm_zerocopy.native import runner

HEADER = runner.SOURCE.with_name("cuda_before_11_8.h")
CUDA_H = """\
#define CUDA_VERSION {version}
typedef int CUresult;
typedef int CUfunction_attribute;
typedef struct CUfunc_st* CUfunction;
typedef struct CUstream_st* CUstream;
enum {{ CUDA_SUCCESS = 0, CUDA_ERROR_NOT_SUPPORTED = 801 }};
inline unsigned launched = 0;
inline CUresult cuLaunchKernel(CUfunction, unsigned x, unsigned y, unsigned z, unsigned bx, unsigned by, unsigned bz,
                               unsigned shared, CUstream, void**, void**) {{
  launched = x * y * z * bx * by * bz + shared;
  return CUDA_SUCCESS;
}}
"""
PROGRAM = """\
int main() {
  CUlaunchConfig config{};
  config.gridDimX = 2, config.gridDimY = 3, config.gridDimZ = 1;
  config.blockDimX = 32, config.blockDimY = 1, config.blockDimZ = 1;
  config.sharedMemBytes = 7;
  if (cuLaunchKernelEx(&config, nullptr, nullptr, nullptr) != CUDA_SUCCESS || launched != 2 * 3 * 32 + 7) return 1;
  CUlaunchAttribute attribute{};
  attribute.id = CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
  config.attrs = &attribute, config.numAttrs = 1;
  return cuLaunchKernelEx(&config, nullptr, nullptr, nullptr) == CUDA_ERROR_NOT_SUPPORTED ? 0 : 2;
}
"""

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="compiles with g++")


def test_launches_and_refuses_attributes(tmp_path):
    (tmp_path / "cuda.h").write_text(CUDA_H.format(version=11040))
    (tmp_path / "launch.cc").write_text(PROGRAM)
    command = [
        "g++",
        "-std=c++17",
        "-I",
        tmp_path,
        "-include",
        HEADER,
        tmp_path / "launch.cc",
        "-o",
        tmp_path / "launch",
    ]
    subprocess.run(command, check=True)
    assert subprocess.run([tmp_path / "launch"], check=False).returncode == 0


def test_later_versions_are_left_alone(tmp_path):
    (tmp_path / "cuda.h").write_text(CUDA_H.format(version=11080))
    (tmp_path / "empty.cc").write_text("struct CUlaunchConfig {}; int main() {}\n")
    command = ["g++", "-std=c++17", "-I", tmp_path, "-include", HEADER, "-fsyntax-only", tmp_path / "empty.cc"]
    subprocess.run(command, check=True)
