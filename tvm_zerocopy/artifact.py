"""One file that holds a compiled program: machine code, weights, specs, and what it takes to trust them.

::

    ELF shared library        what dlopen maps; it does not look behind its own end
    weights                   at a multiple of 64 KiB, read in place by mmap
    metadata                  JSON: specs, class names, versions, target, the program's inputs, outputs and plan
    footer                    where the parts lie, SHA-256 of all before it, a magic number

`load` checks all of it before any of it is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import platform
import shutil
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from . import runtime
from .buffers import ExternalBuffer
from .engine import Engine
from .errors import ArtifactError, UnsupportedError

MAGIC = b"\x89TVMZC\r\n"  # as PNG's: no text file, and damaged by newline conversion
FORMAT = 1
FOOTER = struct.Struct("<IIQQQQ32s8s")  # format, 0, weights offset and bytes, metadata offset and bytes, digest, magic
PAGE = 65536  # the largest page size in use (aarch64)
ELF_MAGIC = b"\x7fELF"
AGAIN = "compile the model again (tvm-zerocopy compile)"


@dataclass(frozen=True)
class Parts:
    """A verified artifact: its metadata, and its weights in the mapped file."""

    metadata: dict[str, Any]
    weights: np.ndarray


def load(path) -> Engine:
    """Load a compiled detector, with TVM's runtime alone.

    Parameters
    ----------
    path : path
        Written by `Engine.export` or ``tvm-zerocopy compile``. It must not be changed while the engine lives; writing a
        new artifact to the same path is fine, `Engine.export` replaces the file as a whole.

    Returns
    -------
    Engine

    Raises
    ------
    ArtifactError
        If the file is missing, truncated, damaged, no artifact, or made for another version of this package or of TVM,
        another machine or another CPU. Nothing of it has been executed then.
    UnsupportedError
        If TVM's runtime is not installed, or it has no CUDA and the artifact has kernels for it.
    """
    path = Path(path)
    parts = read_artifact(path)
    with _read_as_this_version_writes(path):
        make, load_module = _executor(parts.metadata)
    with tempfile.TemporaryDirectory(prefix="tvm-zerocopy-") as folder:
        library = Path(folder) / "program.so"  # the loader goes by the suffix
        library.symlink_to(path.resolve())
        try:
            module = load_module(library)
        except (RuntimeError, OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[-1]
            if "load_from_bytes.cuda" in reason:
                raise UnsupportedError(
                    f"{path} has kernels for CUDA and TVM's CUDA runtime is not loaded here: it needs an NVIDIA driver "
                    "and the CUDA it was built with, 13 for the wheel; `tvm-zerocopy doctor` shows what there is, "
                    "docs/jetson.md builds it for a Jetson"
                ) from error
            raise ArtifactError(f"{path} is intact but cannot be loaded ({reason}); {AGAIN}") from error
    with _read_as_this_version_writes(path):
        return make(module, parts.metadata["program"], ExternalBuffer.wrap(parts.weights), parts.metadata, path)


def _executor(metadata: dict[str, Any]):
    """The class of the engine that runs a program, and the function that loads its library."""
    if "graph" in metadata["program"]:
        from .relay.engine import GraphEngine, load_library

        return GraphEngine, load_library
    tvm_ffi = runtime.load_runtime()
    return Engine, lambda library: tvm_ffi.load_module(library, keep_module_alive=False)


def read_artifact(path) -> Parts:
    """Check an artifact and read what it says about itself; executes nothing.

    Raises
    ------
    ArtifactError
        As `load`.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < FOOTER.size:
                raise ArtifactError(f"{path} has {size} bytes; it is no artifact or was cut off: {AGAIN}")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be read: {error.strerror or error}") from error
    with _read_as_this_version_writes(path):
        metadata, weights = _verify(path, mapped)
        _check_runs_here(path, metadata, mapped)
    return Parts(metadata, weights)


@contextlib.contextmanager
def _read_as_this_version_writes(path: Path):
    """Intact, but not what this version writes: fields that it does not know, or that it misses."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ArtifactError(f"{path} was written by another version of tvm-zerocopy ({reason}); {AGAIN}") from error


def _verify(path: Path, mapped: mmap.mmap):
    end = len(mapped) - FOOTER.size
    *fields, digest, magic = FOOTER.unpack_from(mapped, end)
    layout, _, weights_at, weights_bytes, metadata_at, metadata_bytes = fields
    if magic != MAGIC:
        kind = "a shared library" if mapped[:4] == ELF_MAGIC else "a file"
        raise ArtifactError(f"{path} is {kind} without tvm-zerocopy's footer: foreign, or cut off; {AGAIN}")
    if layout != FORMAT:
        raise ArtifactError(f"{path} has artifact format {layout}; this version reads format {FORMAT}: {AGAIN}")
    checked = hashlib.sha256(memoryview(mapped)[:end])
    checked.update(FOOTER.pack(*fields, bytes(32), magic))
    if checked.digest() != digest:
        raise ArtifactError(f"{path} is damaged (its SHA-256 does not match); copy it again, or {AGAIN}")
    metadata = json.loads(mapped[metadata_at : metadata_at + metadata_bytes])
    return metadata, np.frombuffer(mapped, np.uint8, weights_bytes, weights_at)


def _check_runs_here(path: Path, metadata: dict[str, Any], mapped: mmap.mmap) -> None:
    made, here = metadata["versions"], runtime.versions()
    for name, title in (("tvm", "TVM"), ("tvm_ffi", "tvm-ffi")):
        if runtime.release(made[name]) != runtime.release(here[name]):
            raise ArtifactError(f"{path} was compiled with {title} {made[name]}; {here[name]} is installed: {AGAIN}")
    (machine,) = struct.unpack_from("<H", mapped, 18)  # e_machine
    if machine != runtime.elf_machine():
        made_for, this = runtime.MACHINE_NAMES.get(machine, f"ELF machine {machine}"), os.uname().machine
        raise ArtifactError(f"{path} was compiled for {made_for}; this machine is {this}: compile it for this target")
    missing = sorted(set(metadata["cpu_flags"]) - runtime.cpu_flags())
    if missing and runtime.cpu_flags():
        raise ArtifactError(
            f"{path} was compiled for a CPU with {', '.join(missing)}, which this one lacks: compile it here, or with "
            "target 'llvm -mcpu=...' of this CPU"
        )


def write_artifact(engine: Engine, path: Path, ptx: bool = False) -> Path:
    """Write an engine's artifact; the file appears whole or not at all.

    Parameters
    ----------
    engine : Engine
    path : Path
    ptx : bool
        As for `Engine.export`.

    Raises
    ------
    UnsupportedError
        If there is no C compiler to link with, or PTX is asked for and the engine has none.
    ArtifactError
        If the folder is missing or cannot be written, or linking fails.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise ArtifactError(f"{path.parent} is no folder; create it first")
    if ptx and not _can_embed_ptx(engine):
        raise UnsupportedError("PTX is of kernels that were compiled for CUDA here; export without it")
    with tempfile.TemporaryDirectory(prefix="tvm-zerocopy-") as folder:
        library = Path(folder) / "program.so"
        if engine.source is not None:
            content = Path(engine.source).read_bytes()
        else:
            kind = "ptx" if ptx else "cubin"
            _link(engine, library, kind)
            content = _assemble(engine, library.read_bytes(), kind)
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        os.unlink(temporary)
        raise ArtifactError(f"{path} cannot be written: {error.strerror or error}") from error
    return path


def _can_embed_ptx(engine: Engine) -> bool:
    """Relay's builds and artifacts hold finished device code."""
    finished = engine.source is not None or "graph" in engine.program
    return engine.metadata.get("device_code") == "ptx" or (engine.runs_on_cuda and not finished)


def _assemble(engine: Engine, library: bytes, kind: str) -> bytes:
    weights = bytes(memoryview(engine.weights.numpy()))
    content = {
        **engine.metadata,
        "program": engine.program,
        "device_code": kind if engine.runs_on_cuda else None,
        "cuda": cuda_requirements(engine, kind),
        "versions": {**engine.metadata.get("versions", {}), **runtime.versions()},
        "cpu_flags": _needed_cpu_flags(engine.target),
    }
    metadata = json.dumps(content, sort_keys=True).encode()
    weights_at = -(-len(library) // PAGE) * PAGE
    metadata_at = weights_at + len(weights)
    body = library + bytes(weights_at - len(library)) + weights + metadata
    fields = (FORMAT, 0, weights_at, len(weights), metadata_at, len(metadata))
    digest = hashlib.sha256(body + FOOTER.pack(*fields, bytes(32), MAGIC)).digest()
    return body + FOOTER.pack(*fields, digest, MAGIC)


def cuda_requirements(engine: Engine, kind: str):
    """The CUDA that compiled an engine's kernels and the driver they need; None on a CPU and for Relay's builds."""
    if not engine.runs_on_cuda or "graph" in engine.program:
        return None
    from .device_code import requirements

    return requirements(engine.module, json.loads(engine.target)["arch"], kind)


def _needed_cpu_flags(target: str):
    """Linux's names of the CPU features that code for this target may use."""
    from tvm.target import Target, codegen

    from .targets import CPUINFO_FLAGS

    resolved = Target(json.loads(target))
    host = resolved.host or resolved
    flags = CPUINFO_FLAGS.get(runtime.machine_of(target) or platform.machine(), {})
    features = {str(feature) for feature in codegen.llvm_get_cpu_features(host)}
    return sorted(flag for feature, flag in flags.items() if feature in features)


def linker(target) -> str:
    """The compiler that links artifacts for a complete target.

    Raises
    ------
    UnsupportedError
        If it is not installed.
    """
    try:
        from tvm.support import cc
    except ImportError:  # TVM up to 0.19
        from tvm.contrib import cc

    triple = str((target.host or target).attrs.get("mtriple") or "")
    architecture = triple.split("-")[0].replace("arm64", "aarch64")
    compiler, package = cc.get_cc(), "g++"
    if architecture and architecture != os.uname().machine:
        compiler, package = os.environ.get("CXX") or f"{architecture}-linux-gnu-g++", f"g++-{architecture}-linux-gnu"
    if compiler is None:
        raise UnsupportedError("export links with a C compiler and finds none; apt install g++, or set CXX")
    if shutil.which(compiler) is None:
        raise UnsupportedError(
            f"export links with {compiler}, which is not installed; apt install {package} or set CXX"
        )
    return compiler


def _link(engine: Engine, library: Path, kind: str) -> None:
    from tvm.target import Target

    try:
        from tvm.support import cc
    except ImportError:  # TVM up to 0.19
        from tvm.contrib import cc

    target = Target(json.loads(engine.target))
    compiler = linker(target)
    options = {"fcompile": cc.cross_compiler(compiler, options=["-shared", "-fPIC"])}
    if target.kind.name == "cuda" and "graph" not in engine.program:  # relay.build has compiled its device code
        from .device_code import packer

        options["fpack_imports"] = packer(str(target.attrs["arch"]), kind)
    try:
        engine.module.export_library(str(library), **options)
    except RuntimeError as error:
        reason = next((line for line in reversed(str(error).splitlines()) if line.strip()), "no reason given")
        raise ArtifactError(f"linking with {compiler} failed: {reason.strip()}") from error
