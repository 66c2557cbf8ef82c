"""What `benchmarks/machine_code.py` reads in a disassembly."""

import machine_code
import pytest

from tvm_zerocopy.errors import ZeroCopyError

LISTING = """
	.headerflags	@"EF_CUDA_TEXMODE_UNIFIED EF_CUDA_64BIT_ADDRESS EF_CUDA_SM72"
.text.conv2d_kernel:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0820*/                   HMMA.884.F32.F32.STEP0 R24, R80.reuse.ROW, R126.reuse.ROW, R24 ;
        /*0830*/              @!P0 FFMA R2, R3, R4, R2 ;
.L_1:
.text.pool_kernel:
        /*0000*/                   STL.64 [R1], R2 ;
        /*0010*/               @P1 EXIT ;
"""


@pytest.fixture
def nvdisasm(tmp_path):
    """``nvdisasm(text, code)``: a program that prints it and ends so."""

    def make(text, code):
        (tmp_path / "text").write_text(text)
        program = tmp_path / "nvdisasm"
        program.write_text(f"#!/bin/sh\ncat {tmp_path / 'text'} >&{1 if code == 0 else 2}\nexit {code}\n")
        program.chmod(0o755)
        return str(program)

    return make


def test_counts_and_faults(nvdisasm):
    kernels = machine_code.disassemble(b"", nvdisasm(LISTING, 0))
    assert kernels == {
        "conv2d_kernel": {"instructions": 3, "HMMA": 1, "FFMA": 1, "local": 0},
        "pool_kernel": {"instructions": 2, "HMMA": 0, "FFMA": 0, "local": 1},
    }
    assert list(machine_code.faults(kernels, "float16")) == ["pool_kernel accesses local memory"]
    assert list(machine_code.faults(kernels, "float32"))[0] == "conv2d_kernel has 1 HMMA"
    kernels["conv2d_kernel"]["HMMA"] = kernels["pool_kernel"]["local"] = 0
    assert list(machine_code.faults(kernels, "float16")) == ["conv2d_kernel has 0 HMMA"]


def test_an_nvdisasm_that_is_too_new(nvdisasm):
    with pytest.raises(ZeroCopyError, match="SM72.*give one of CUDA 11 or 12: --nvdisasm"):
        machine_code.disassemble(b"", nvdisasm('fatal: CUDA architecture "SM72" is deprecated', 255))
