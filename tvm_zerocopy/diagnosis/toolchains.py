"""Compilers outside TVM: for artifacts on this machine, for Jetson AGX Xavier's GPU (sm_72) and its CPU (aarch64)."""

import ctypes
import glob
import importlib.util
import os
import platform
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import List, Optional

from .known_failures import last_line
from .result import CheckResult, ok, skip, warn

_SOURCE = "int answer(void) { return 42; }\n"
_PROGRAM = "int main() { return 42; }\n"
_AARCH64 = 183  # e_machine, ELF for the Arm 64-bit Architecture
_SM_72_MEND = "pip install 'tvm-zerocopy[cuda12]' (CUDA 13 no longer knows sm_72)"
_SECONDS = 10  # for one call of a compiler


def c_compiler() -> CheckResult:
    """Build a shared library with the compiler that TVM would take and call it."""
    chosen = os.environ.get("CXX") or os.environ.get("CC")
    names = [chosen] if chosen else ["g++", "gcc", "clang++", "clang", "c++", "cc"]
    compiler = next((path for path in map(shutil.which, names) if path), None)
    mend = "apt-get install g++ (or set CXX); only saving artifacts needs it, compiling in memory does not"
    if compiler is None:
        return warn(f"no C compiler ({', '.join(names)}), so engines cannot be exported", mend)
    with tempfile.TemporaryDirectory() as folder:
        source, library = Path(folder, "answer.c"), Path(folder, "answer.so")
        source.write_text(_SOURCE)
        done = _run([compiler, "-x", "c", "-shared", "-fPIC", "-o", str(library), str(source)])
        if done.returncode != 0:
            return warn(
                f"{compiler} does not build a shared library: {last_line(done.stderr)}", "mend that, or " + mend
            )
        try:
            answer = ctypes.CDLL(str(library)).answer()
        except OSError as error:
            return warn(f"a library built in {folder} does not load: {last_line(str(error))}", "set TMPDIR")
    if answer != 42:
        return warn(f"a library built with {compiler} answers {answer} for 42", mend)
    return ok(f"{_first_line([compiler, '--version'])}: a shared library builds, loads and runs")


def sm_72() -> CheckResult:
    """An nvrtc that still compiles for Xavier's GPU (this package's compiler), and what ptxas and nvcc know."""
    nvrtc = {path: _nvrtc_knows(path, 72) for path in _nvrtc_libraries()}
    assemblers = {path: _assembles(path, "sm_72") for path in _tools("ptxas")}
    compilers = {path: _list_has(path, "sm_72") for path in _tools("nvcc")}
    found = {**nvrtc, **assemblers, **compilers}
    figures = {"found": found}
    if not found:
        return skip("no CUDA compiler here; only compiling for Jetson AGX Xavier needs one", _SM_72_MEND, **figures)
    detail = ", ".join(f"{path} {'knows' if knows else 'does not know'} sm_72" for path, knows in found.items())
    if not any(nvrtc.values()):
        return warn(detail, _SM_72_MEND, **figures)
    return ok(detail, **figures)


def _tools(name: str) -> List[str]:
    """A CUDA tool on PATH, in the usual folder and in NVIDIA's wheels."""
    found = [shutil.which(name), f"/usr/local/cuda/bin/{name}"]
    found += [str(path) for folder in _wheels() for path in sorted(folder.glob(f"*/bin/{name}"))]
    return list(dict.fromkeys(os.path.realpath(path) for path in found if path and os.access(path, os.X_OK)))


def _nvrtc_libraries() -> List[str]:
    patterns = ["/usr/local/cuda*/lib64/libnvrtc.so.*", "/usr/local/cuda*/targets/*/lib/libnvrtc.so.*"]
    patterns += [str(folder / "*/lib/libnvrtc.so.*") for folder in _wheels()]
    found = {os.path.realpath(path) for pattern in patterns for path in glob.glob(pattern) if "alt" not in path}
    return sorted(found)


def _wheels() -> List[Path]:
    spec = importlib.util.find_spec("nvidia")
    return [Path(folder) for folder in spec.submodule_search_locations] if spec else []


def _nvrtc_knows(library: str, arch: int) -> bool:
    count = ctypes.c_int()
    try:
        nvrtc = ctypes.CDLL(library)
        if nvrtc.nvrtcGetNumSupportedArchs(ctypes.byref(count)) != 0:
            return False
        archs = (ctypes.c_int * count.value)()
        return nvrtc.nvrtcGetSupportedArchs(archs) == 0 and arch in list(archs)
    except (OSError, AttributeError):  # AttributeError: CUDA before 11.2, which cannot be asked
        return False


def _assembles(ptxas: str, arch: str) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "empty.ptx")
        source.write_text(f".version 6.1\n.target {arch}\n.address_size 64\n.visible .entry f() {{ ret; }}\n")
        done = _run([ptxas, "--gpu-name", arch, "-o", str(Path(folder, "empty.cubin")), str(source)])
        return done.returncode == 0


def _list_has(nvcc: str, arch: str) -> bool:
    return arch in _run([nvcc, "--list-gpu-code"]).stdout.split()


def aarch64() -> CheckResult:
    """A compiler that links artifacts for Jetson's CPU, and qemu, with which they can be tried here."""
    if platform.machine() in ("aarch64", "arm64"):
        return ok("this machine is aarch64 itself")
    compiler = shutil.which("aarch64-linux-gnu-g++")
    emulator = shutil.which("qemu-aarch64") or shutil.which("qemu-aarch64-static")
    mend = "apt-get install g++-aarch64-linux-gnu qemu-user"
    if compiler is None:
        return skip("no aarch64-linux-gnu-g++; only compiling for Jetson needs it", mend)
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "answer.cc"), Path(folder, "answer")
        source.write_text(_PROGRAM)
        done = _run([compiler, "-static", "-o", str(program), str(source)])
        if done.returncode != 0:
            return warn(f"{compiler} does not link: {last_line(done.stderr)}", "mend that, or " + mend)
        machine = struct.unpack_from("<H", program.read_bytes(), 18)[0]
        if machine != _AARCH64:
            return warn(f"{compiler} links for ELF machine {machine}, not aarch64 ({_AARCH64})", mend)
        version = _first_line([compiler, "--version"])
        if emulator is None:
            return warn(f"{version} links for aarch64; without qemu-aarch64 nothing of it can be tried here", mend)
        code = _run([emulator, str(program)]).returncode
    if code != 42:
        return warn(f"{version} links for aarch64, but its program ends with {code} in {emulator}, not 42", mend)
    return ok(f"{version} links for aarch64, and {os.path.basename(emulator)} runs it")


def _run(command: List[str]) -> subprocess.CompletedProcess:
    """Like subprocess.run; a program that cannot be started or does not end has returncode 127."""
    try:
        return subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 127, "", str(error))


def _first_line(command: List[str]) -> Optional[str]:
    return (_run(command).stdout.splitlines() or [os.path.basename(command[0])])[0]
