"""Which GPU and which driver run code that a CUDA toolkit has made, by the rules that NVIDIA publishes.

GPUs: CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility". Drivers: CUDA Compatibility, "Minor
Version Compatibility" (machine code, from CUDA 11 on, within a major version and on all newer drivers; not PTX), and
the PTX ISA's "Release Notes" (the CUDA version of the driver that takes each PTX version). On Jetsons the same holds:
CUDA for Tegra, "Use the Right Upgrade Package", has JetPack 5's driver of CUDA 11.4 run what CUDA 11.8 made and not
what 12.0 made.
"""

from __future__ import annotations

import re

from .cuda_toolchain import arch_number
from .errors import UnsupportedError

TEGRA = (53, 62, 72, 87)  # TX1 and Nano, TX2, Xavier, Orin
JETPACK_5 = (11, 4)  # the CUDA of its driver
# The drivers whose PTX is written where the code allows it: JetPack 5's, and the first that knows sm_89 and sm_90.
PTX_FOR_DRIVERS = ((7, 4), (7, 8))
PTX_6 = ((9, 0), (9, 1), (9, 2), (10, 0), (10, 1), (10, 2))  # the CUDA versions of PTX 6.0 to 6.5
PTX_8 = {6: 7, 7: 8, 8: 9}  # PTX 8.6 to 8.8 came with CUDA 12.7 to 12.9; CUDA 12.6 has 8.5 as 12.5 has
DECLARED = re.compile(rb"^\.version (\d+)\.(\d+)", re.M)


def check_runs(arch: str, kind: str, device: str) -> None:
    """Whether a GPU runs code that was compiled for an architecture.

    Machine code runs on GPUs of the same major version and the same or a higher minor one, except between Tegra's and
    others' (CUDA for Tegra); PTX on any that is not older.

    Parameters
    ----------
    arch, device : str
        ``"sm_72"``: what the code was compiled for, and what the GPU is.
    kind : {"cubin", "ptx"}

    Raises
    ------
    UnsupportedError
    """
    made, here = arch_number(arch), arch_number(device)
    family = made // 10 == here // 10 and made not in TEGRA and here not in TEGRA
    runs = here >= made and (kind == "ptx" or family or here == made)
    if not runs:
        raise UnsupportedError(
            f"the kernels were compiled for {arch} ({kind}) and this GPU is {device}, which cannot run them; compile "
            f"again with target 'cuda -arch={device}'"
        )


def check_driver(kind: str, made: dict, driver: tuple[int, int]) -> None:
    """Whether a driver loads code, before it is given some that it refuses, or worse, takes.

    Parameters
    ----------
    kind : {"cubin", "ptx"}
    made : dict
        As `requirements` gives it.
    driver : tuple of int
        (11, 4): the CUDA version of the driver, as ``cudaDriverGetVersion`` says.

    Raises
    ------
    UnsupportedError
    """
    needed = tuple(made["driver"])
    if tuple(driver) >= needed:
        return
    mend = f"compile with CUDA {driver[0]} (CUDA_HOME names it)"
    if kind == "cubin" and tuple(driver) >= JETPACK_5:
        mend += ", or export PTX (--ptx)"
    raise UnsupportedError(
        f"the kernels ({kind}) were compiled with CUDA {_dotted(made['toolkit'])} and need a driver of CUDA "
        f"{_dotted(needed)} or newer; this one is of CUDA {_dotted(driver)}: {mend}; docs/jetson.md says how"
    )


def requirements(kind: str, toolkit: tuple[int, int], code: bytes) -> dict:
    """What an artifact says about its kernels: ``{"toolkit": [12, 9], "driver": [12, 0]}``.

    Parameters
    ----------
    kind : {"cubin", "ptx"}
    toolkit : tuple of int
        Of the compiler.
    code : bytes
    """
    driver = driver_for_ptx(ptx_version(code)) if kind == "ptx" else driver_for_cubin(toolkit)
    return {"toolkit": list(toolkit), "driver": list(driver)}


def driver_for_cubin(toolkit: tuple[int, int]) -> tuple[int, int]:
    """The oldest driver's CUDA version: the first of the toolkit's major version, before CUDA 11 the toolkit's own."""
    major, minor = toolkit
    return (major, 0 if major >= 11 else minor)


def driver_for_ptx(version: tuple[int, int]) -> tuple[int, int]:
    """The CUDA version of the oldest driver that takes a PTX version: (11, 4) for PTX 7.4."""
    major, minor = version
    if major == 6:
        return PTX_6[min(minor, len(PTX_6) - 1)]
    if major < 6:
        return PTX_6[0]  # no driver of today's is older
    return (major + 4, PTX_8.get(minor, minor) if major == 8 else minor)


def ptx_version(code: bytes) -> tuple[int, int]:
    """(8, 8): what PTX declares itself to be.

    Raises
    ------
    UnsupportedError
        If it declares nothing.
    """
    found = DECLARED.search(code)
    if found is None:
        raise UnsupportedError("the compiler's PTX declares no version")
    return int(found.group(1)), int(found.group(2))


def declare(code: bytes, version: tuple[int, int]) -> bytes:
    """PTX that declares another version; whether its instructions are of that version is ptxas's to say."""
    return DECLARED.sub(b".version %d.%d" % version, code, count=1)


def _dotted(version) -> str:
    return ".".join(map(str, version))
