"""TVM's runtime alone: what an artifact needs to run. Neither the ``tvm`` package nor its compiler is loaded."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import sys
from pathlib import Path

from .errors import UnsupportedError

INSTALL = "pip install 'apache-tvm>=0.27,<0.28' 'apache-tvm-ffi>=0.1.14,<0.1.15'"
MACHINE_NAMES = {62: "x86_64", 183: "aarch64"}  # e_machine, elf(5)
_ELF_MACHINES = {"x86_64": 62, "amd64": 62, "aarch64": 183, "arm64": 183}


@functools.lru_cache(maxsize=None)
def load_runtime():
    """Make TVM's runtime functions known to this process (``libtvm_runtime.so``, and its CUDA part where installed).

    Returns
    -------
    module
        ``tvm_ffi``.

    Raises
    ------
    UnsupportedError
        If TVM's runtime is not installed.
    """
    try:
        tvm_ffi = importlib.import_module("tvm_ffi")
    except ImportError as error:
        raise UnsupportedError(f"tvm_ffi cannot be imported ({error}); {INSTALL}") from error
    if "tvm" in sys.modules:
        return tvm_ffi
    folders = _library_folders()
    for name, required in (("libtvm_runtime.so", True), ("libtvm_runtime_cuda.so", False)):
        path = next((folder / name for folder in folders if (folder / name).is_file()), None)
        if path is None and required:
            where = ", ".join(map(str, folders)) or "this Python environment"
            raise UnsupportedError(f"{name} is not in {where}; {INSTALL}")
        if path is not None:
            try:
                ctypes.CDLL(str(path), ctypes.RTLD_GLOBAL)
            except OSError as error:
                if required:
                    raise UnsupportedError(f"{path} cannot be loaded ({error}); {INSTALL}") from error
    return tvm_ffi


def _library_folders():
    folders = [Path(os.environ["TVM_LIBRARY_PATH"])] if os.environ.get("TVM_LIBRARY_PATH") else []
    spec = importlib.util.find_spec("tvm")  # finds the package without running it
    if spec is not None and spec.origin:
        package = Path(spec.origin).parent
        folders += [package / "lib", package.parent.parent / "build" / "lib", package.parent.parent / "lib"]
    return folders


@functools.lru_cache(maxsize=None)
def versions() -> dict[str, str]:
    """Versions that an artifact depends on: tvm and tvm_ffi, "unknown" where they cannot be told."""
    return {"tvm": _tvm_version(), "tvm_ffi": _distribution_version("apache-tvm-ffi") or "unknown"}


def _tvm_version() -> str:
    installed = _distribution_version("apache-tvm")
    if installed:
        return installed
    spec = importlib.util.find_spec("tvm")  # a build from source
    for name in ("_version.py", "libinfo.py", "_ffi/libinfo.py") if spec is not None and spec.origin else ():
        path = Path(spec.origin).parent / name
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
        found = re.search(r"^[ \t]*__version__ = (?:version = )?['\"]([\w.]+)['\"]", text, re.M)
        if found:
            return found.group(1)
    return "unknown"


def _distribution_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def release(version: str) -> str:
    """Major and minor number: what compiled code depends on."""
    return ".".join(version.split(".")[:2])


def elf_machine() -> int | None:
    """This machine's number in ELF headers."""
    return _ELF_MACHINES.get(platform.machine().lower())


def machine_of(target: str) -> str | None:
    """The machine on which a target's host code runs, as ``platform.machine()`` names it; None: this one.

    Parameters
    ----------
    target : str
        A TVM target as JSON, as engines and artifacts carry it.
    """
    config = json.loads(target) if target.startswith("{") else {}
    host = config.get("host") or config
    architecture = str(host.get("mtriple") or "").split("-")[0]
    return {"arm64": "aarch64", "amd64": "x86_64"}.get(architecture, architecture) or None


@functools.lru_cache(maxsize=None)
def cpu_flags() -> frozenset[str]:
    """Features of this machine's CPU as Linux names them; empty where it does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return frozenset()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.M)
    return frozenset(found.group(1).split()) if found else frozenset()
