"""CUDA C to machine code without a CUDA installation: NVRTC, ptxas and headers of NVIDIA's wheels (extra ``cuda12``).

NVRTC is called through its C interface, so the CUDA version is whatever is found here and not what a binding was
built for: the wheels of CUDA 12.9 or 11.8 (both know sm_72, Jetson AGX Xavier), or a toolkit. CUDA 13 dropped what is
older than sm_75.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib.util
import os
import re
import subprocess
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from .errors import UnsupportedError, ZeroCopyWarning

INSTALL = "pip install 'tvm-zerocopy[cuda12]'"
# IEEE division and square roots: boxes must equal the CPU's. Kernels name the fast intrinsics where they want them.
OPTIONS = ("-default-device", "--std=c++17", "--device-int128")
FIRST_OF_CUDA_12, FIRST_OF_CUDA_13 = 50, 75  # the oldest architectures that they compile for
CALLBACK = "tvm_callback_cuda_compile"  # TVM's code generator calls it with a module's CUDA C
HEADERS = ("cuda_fp16.h", "mma.h", "crt/mma.h", "cuda/std/cstdint")  # from three wheels: runtime, nvcc, cccl
# NVRTC knows no <math.h>; TVM's code names this constant of it.
PREAMBLE = """\
#ifndef INFINITY
#define INFINITY __int_as_float(0x7f800000)
#endif
"""


@dataclass(frozen=True)
class Toolchain:
    """One CUDA version's compilers.

    Attributes
    ----------
    version : tuple of int
        (12, 9), NVRTC's.
    nvrtc : Path
    archs : tuple of int
        What it compiles for: 72 for sm_72.
    includes : tuple of Path
        Folders of its headers.
    ptxas : Path or None
    """

    version: tuple[int, int]
    nvrtc: Path
    archs: tuple[int, ...]
    includes: tuple[Path, ...]
    ptxas: Path | None

    @property
    def name(self) -> str:
        """``CUDA 12.9``."""
        return f"CUDA {self.version[0]}.{self.version[1]}"


@dataclass(frozen=True)
class KernelResources:
    """What ptxas says that a kernel takes.

    Attributes
    ----------
    registers : int
        32-bit registers a thread.
    shared_bytes : int
        Static shared memory a block.
    stack_bytes, spill_store_bytes, spill_load_bytes : int
        Local memory a thread.
    """

    registers: int
    shared_bytes: int
    stack_bytes: int
    spill_store_bytes: int
    spill_load_bytes: int


# --- finding ----------------------------------------------------------------------------------------------------------


def find_toolchain(arch: str) -> Toolchain:
    """The first toolchain here that compiles for an architecture: of CUDA_HOME, CUDA_PATH, the wheels, /usr/local/cuda.

    Parameters
    ----------
    arch : str
        ``"sm_72"``.

    Raises
    ------
    UnsupportedError
        If there is none, or none that knows the architecture.
    """
    number = arch_number(arch)
    found, problems = installed()
    for toolchain in found:
        if number in toolchain.archs:
            _warn_of_ignored(toolchain)
            return toolchain
    if found:
        versions = ", ".join(dict.fromkeys(toolchain.name for toolchain in found))
        known = sorted({each for toolchain in found for each in toolchain.archs})
        if number < FIRST_OF_CUDA_12:
            why, mend = f"they begin at sm_{known[0]}", f"take a toolkit that knows {arch} (CUDA_HOME names it)"
        elif number < FIRST_OF_CUDA_13:
            why, mend = "CUDA 13 dropped what is older than sm_75", f"{INSTALL} brings 12.9, which knows it"
        else:
            why, mend = f"they know {', '.join(f'sm_{each}' for each in known)}", f"install a CUDA that knows {arch}"
        raise UnsupportedError(f"{versions} cannot compile for {arch} ({why}); {mend}")
    raise UnsupportedError(f"compiling for {arch} needs CUDA's compiler NVRTC ({'; '.join(problems)}); {INSTALL}")


def _warn_of_ignored(taken: Toolchain) -> None:
    """CUDA_HOME is how a version is chosen: a folder without any must not pass for the choice."""
    for name in ("CUDA_HOME", "CUDA_PATH"):
        root = os.environ.get(name)
        if root and not any(libraries for libraries, _, _ in _places_in(Path(root))):
            _warn_once(f"{name} is {root}, where there is no NVRTC; {taken.name} of {taken.nvrtc.parent} is used")


@functools.lru_cache(maxsize=None)
def _warn_once(text: str) -> None:
    warnings.warn(text, ZeroCopyWarning, stacklevel=4)


def arch_number(arch: str) -> int:
    """72 of ``"sm_72"``.

    Raises
    ------
    UnsupportedError
        If it is no architecture's name.
    """
    found = re.fullmatch(r"(?:sm|compute)_(\d+)[af]?", arch)
    if not found:
        raise UnsupportedError(f"{arch!r} is no CUDA architecture; write for example sm_72")
    return int(found.group(1))


def installed() -> tuple[list[Toolchain], list[str]]:
    """Every usable toolchain here in order of preference, and why others, or none, were found."""
    found, problems = [], []
    for libraries, includes, programs in _places():
        for library in libraries:
            toolchain = _toolchain(library, includes, programs)
            if isinstance(toolchain, Toolchain):
                found.append(toolchain)
            elif toolchain not in problems:
                problems.append(toolchain)
    return found, problems or ["no libnvrtc.so was found"]


def _places():
    """(libraries, folders of headers, folders of programs) of each place that may hold a toolchain."""
    for root in [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]:
        yield from _places_in(root)
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations if spec else []:
        yield from _wheels(Path(folder))
    for root in sorted(Path("/usr/local").glob("cuda*"), reverse=True):
        yield _toolkit(root)


def _places_in(root: Path):
    """A folder that the user names: a toolkit, or what ``pip install --target`` made."""
    yield _toolkit(root)
    yield from _wheels(root / "nvidia")


def _wheels(folder: Path):
    """NVIDIA's wheels in their common folder: a folder for each part, or since CUDA 13 one for all of them."""
    parts = [folder / part / "include" for part in ("cuda_runtime", "cuda_nvcc", "cuda_cccl")]
    yield sorted(folder.glob("cuda_nvrtc/lib/libnvrtc.so.*")), parts, [folder / "cuda_nvcc" / "bin"]
    for root in sorted(folder.glob("cu[0-9]*")):
        yield _toolkit(root)


def _toolkit(root: Path):
    libraries = [path for folder in ("lib64", "lib") for path in sorted((root / folder).glob("libnvrtc.so.*"))]
    return libraries, [root / "include", root / "include" / "cccl"], [root / "bin"]


@functools.lru_cache(maxsize=None)
def _nvrtc(library: Path):
    """NVRTC's C interface, its builtins loaded beforehand (it looks them up by name alone)."""
    for builtins in library.parent.glob("libnvrtc-builtins.so.*"):
        with contextlib.suppress(OSError):
            ctypes.CDLL(str(builtins))
    nvrtc = ctypes.CDLL(str(library))
    nvrtc.nvrtcGetErrorString.restype = ctypes.c_char_p
    return nvrtc


def _toolchain(library: Path, includes, programs):
    """A Toolchain, or the reason why this is none."""
    library = library.resolve()
    if ".alt." in library.name:
        return f"{library.name} is an alternative build"
    return _inspect(library, tuple(includes), tuple(programs))


@functools.lru_cache(maxsize=None)
def _inspect(library: Path, includes, programs):
    try:
        nvrtc = _nvrtc(library)
        major, minor, count = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        _check(nvrtc, nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        _check(nvrtc, nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        archs = (ctypes.c_int * count.value)()
        _check(nvrtc, nvrtc.nvrtcGetSupportedArchs(archs))
    except (OSError, AttributeError, RuntimeError) as error:  # AttributeError: CUDA before 11.2
        return f"{library} cannot be used: {_first_line(error)}"
    folders = tuple(folder for folder in includes if folder.is_dir())
    missing = [header for header in HEADERS if not any((folder / header).is_file() for folder in folders)]
    if missing:
        return f"{library} is there and its header {missing[0]} is not"
    headers = _headers_version(folders)
    if headers is not None and headers[0] != major.value:
        return f"{library} is CUDA {major.value} and the headers beside it are CUDA {headers[0]}"
    ptxas = next((folder / "ptxas" for folder in programs if os.access(folder / "ptxas", os.X_OK)), None)
    return Toolchain((major.value, minor.value), library, tuple(archs), folders, ptxas)


def _headers_version(folders):
    for folder in folders:
        header = folder / "cuda.h"
        if header.is_file():
            text = re.search(r"#define CUDA_VERSION (\d+)", header.read_text(encoding="utf-8", errors="replace"))
            return (int(text.group(1)) // 1000, int(text.group(1)) % 1000 // 10) if text else None
    return None


# --- compiling --------------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=8)
def compile_source(source: str, arch: str, kind: str = "cubin", options=()) -> bytes:
    """Compile CUDA C. The last few results are kept: what was compiled to be checked is linked later.

    Parameters
    ----------
    source : str
    arch : str
        ``"sm_72"``.
    kind : {"cubin", "ptx"}
        Machine code for that architecture, or PTX that newer ones can run too.
    options : tuple of str
        More of NVRTC's.

    Raises
    ------
    UnsupportedError
        If NVRTC or the headers are missing, NVRTC does not know the architecture, or it refuses the code.
    """
    if kind not in ("cubin", "ptx"):
        raise ValueError(f"kind is {kind!r}; it must be 'cubin' or 'ptx'")
    toolchain = find_toolchain(arch)
    nvrtc = _nvrtc(toolchain.nvrtc)
    real = arch if kind == "cubin" else arch.replace("sm_", "compute_")
    arguments = [f"--gpu-architecture={real}", *OPTIONS, *options, *(f"-I{folder}" for folder in toolchain.includes)]
    # Headers for host compilers, which NVRTC is not.
    lines = [line for line in source.splitlines() if line.strip() not in ("#include <cuda.h>", "#include <cstdint>")]
    text = PREAMBLE + "\n".join(lines)
    program = ctypes.c_void_p()
    _check(nvrtc, nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None))
    try:
        encoded = (ctypes.c_char_p * len(arguments))(*(argument.encode() for argument in arguments))
        if nvrtc.nvrtcCompileProgram(program, len(arguments), encoded) != 0:
            log = _read(nvrtc, "ProgramLog", program).rstrip(b"\0").decode(errors="replace")
            reasons = [line for line in log.splitlines() if "error" in line]
            reason = (reasons or log.splitlines() or ["no reason given"])[0]
            raise UnsupportedError(f"NVRTC of {toolchain.name} refuses the kernels for {arch}: {reason}")
        return _read(nvrtc, "CUBIN" if kind == "cubin" else "PTX", program)
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def assemble(ptx: bytes, arch: str) -> tuple[bytes, dict[str, KernelResources]]:
    """PTX to machine code with ptxas, and what each kernel takes.

    Raises
    ------
    UnsupportedError
        If ptxas is missing, does not know the architecture, or refuses the code.
    """
    toolchain = find_toolchain(arch)
    if toolchain.ptxas is None:
        raise UnsupportedError(f"{toolchain.name} at {toolchain.nvrtc.parent} comes without ptxas; {INSTALL}")
    with tempfile.TemporaryDirectory(prefix="tvm-zerocopy-") as folder:
        source, output = Path(folder, "kernels.ptx"), Path(folder, "kernels.cubin")
        source.write_bytes(ptx.rstrip(b"\0"))
        command = [toolchain.ptxas, "--verbose", "--gpu-name", arch, "--output-file", output, source]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            reasons = [line for line in (done.stderr + done.stdout).splitlines() if "error" in line or "fatal" in line]
            reason = (reasons or ["no reason given"])[0].strip()
            raise UnsupportedError(f"ptxas of {toolchain.name} refuses the kernels for {arch}: {reason}")
        return output.read_bytes(), parse_ptxas(done.stderr + done.stdout)


def parse_ptxas(text: str) -> dict[str, KernelResources]:
    """Resources by kernel name, from what ``ptxas --verbose`` prints."""
    found, name, frame = {}, None, (0, 0, 0)
    for line in text.splitlines():
        entry = re.search(r"Compiling entry function '([^']+)'", line)
        if entry:
            name, frame = entry.group(1), (0, 0, 0)
            continue
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line)
        if spills:
            frame = tuple(map(int, spills.groups()))
        used = re.search(r"Used (\d+) registers", line)
        if used and name is not None:
            shared = re.search(r"(\d+) bytes smem", line)
            found[name] = KernelResources(int(used.group(1)), int(shared.group(1)) if shared else 0, *frame)
            name = None
    return found


@contextlib.contextmanager
def compiling(arch: str, seen=None):
    """While it lasts, TVM's code generator compiles its CUDA C here.

    Parameters
    ----------
    arch : str
    seen : callable or None
        Called with (source, cubin) of each module.
    """
    import tvm_ffi

    before = tvm_ffi.get_global_func(CALLBACK, allow_missing=True)

    def compile_cuda(source):
        code = compile_source(str(source), arch)
        if seen is not None:
            seen(str(source), code)
        return code

    tvm_ffi.register_global_func(CALLBACK, compile_cuda, override=True)
    try:
        yield
    finally:
        if before is not None:
            tvm_ffi.register_global_func(CALLBACK, before, override=True)
        else:
            tvm_ffi.remove_global_func(CALLBACK)


def _read(nvrtc, what: str, program) -> bytes:
    """nvrtcGet<what>Size and nvrtcGet<what>."""
    size = ctypes.c_size_t()
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    data = ctypes.create_string_buffer(size.value)
    _check(nvrtc, getattr(nvrtc, f"nvrtcGet{what}")(program, data))
    return data.raw


def _check(nvrtc, status: int) -> None:
    if status != 0:
        raise RuntimeError(f"NVRTC: {nvrtc.nvrtcGetErrorString(status).decode()}")


def _first_line(error) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
