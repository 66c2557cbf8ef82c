"""Which GPU and which driver run what: NVIDIA's published tables."""

import re

import pytest

from tvm_zerocopy.cuda_compatibility import (
    check_driver,
    check_runs,
    declare,
    driver_for_ptx,
    ptx_version,
    requirements,
)
from tvm_zerocopy.errors import UnsupportedError


@pytest.mark.parametrize(
    ("arch", "kind", "device", "runs"),
    [
        ("sm_72", "cubin", "sm_72", True),
        ("sm_72", "cubin", "sm_90", False),
        ("sm_72", "ptx", "sm_90", True),
        ("sm_90", "ptx", "sm_72", False),
        ("sm_70", "cubin", "sm_72", False),  # Tegra runs no other GPU's machine code
        ("sm_80", "cubin", "sm_86", True),
        ("sm_86", "cubin", "sm_80", False),
    ],
)
def test_which_gpu_runs_what(arch, kind, device, runs):
    if runs:
        check_runs(arch, kind, device)
        return
    with pytest.raises(UnsupportedError, match=f"compiled for {arch} .* this GPU is {device}, .*cuda -arch={device}"):
        check_runs(arch, kind, device)


@pytest.mark.parametrize(
    ("toolkit", "driver", "runs"),
    [  # CUDA for Tegra, "CUDA UMD and CUDA Toolkit version compatibility on NVIDIA JetPack 5.x"
        ((11, 4), (11, 4), True),
        ((11, 8), (11, 4), True),
        ((12, 0), (11, 4), False),
        ((12, 2), (11, 4), False),
        ((11, 8), (12, 2), True),
        ((12, 0), (11, 8), False),
        ((12, 2), (12, 0), True),
        ((12, 9), (12, 2), True),  # the table of JetPack 6.x
        ((10, 2), (10, 1), False),  # before CUDA 11 there was no minor version compatibility
    ],
)
def test_which_driver_runs_whose_machine_code(toolkit, driver, runs):
    made = requirements("cubin", toolkit, b"\x7fELF")
    if runs:
        check_driver("cubin", made, driver)
        return
    text = re.escape(f"compiled with CUDA {toolkit[0]}.{toolkit[1]} and need a driver of CUDA {toolkit[0]}.")
    mend = rf"this one is of CUDA {driver[0]}.{driver[1]}: compile with CUDA {driver[0]} "
    with pytest.raises(UnsupportedError, match=f"{text}.*{mend}"):
        check_driver("cubin", made, driver)


@pytest.mark.parametrize(
    ("version", "driver"),
    [  # PTX ISA, "Release Notes"
        ((6, 1), (9, 1)),
        ((6, 3), (10, 0)),
        ((7, 4), (11, 4)),
        ((7, 8), (11, 8)),
        ((8, 2), (12, 2)),
        ((8, 6), (12, 7)),
        ((8, 8), (12, 9)),
        ((9, 0), (13, 0)),
    ],
)
def test_which_driver_takes_which_ptx(version, driver):
    code = declare(b"//\n// .version 1\n\n.version 99.9\n.target sm_72\n", version)
    assert ptx_version(code) == version and code.startswith(b"//\n// .version 1\n")
    assert driver_for_ptx(version) == driver
    made = requirements("ptx", (13, 0), code)
    assert made == {"toolkit": [13, 0], "driver": list(driver)}
    check_driver("ptx", made, driver)
    with pytest.raises(UnsupportedError, match=r"\(ptx\) .* need a driver"):
        check_driver("ptx", made, (driver[0] - 1, 9))


def test_where_ptx_would_help_it_is_named():
    made = {"toolkit": [12, 9], "driver": [12, 0]}
    with pytest.raises(UnsupportedError, match=r"CUDA 11 \(CUDA_HOME names it\), or export PTX \(--ptx\)"):
        check_driver("cubin", made, (11, 4))
    with pytest.raises(UnsupportedError, match=r"CUDA 10 \(CUDA_HOME names it\); docs"):
        check_driver("cubin", made, (10, 2))


def test_ptx_without_a_version():
    with pytest.raises(UnsupportedError, match="declares no version"):
        ptx_version(b".target sm_72")
