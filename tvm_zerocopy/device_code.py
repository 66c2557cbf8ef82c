"""Machine code for the GPU inside an artifact that was compiled on a machine without one.

Without the CUDA driver, TVM keeps kernels as CUDA C and would have them compiled where the artifact is loaded, by NVRTC
and TVM's Python package. Here the record of the serialized module gets the cubin instead, so that TVM's runtime alone
runs it.
"""

from __future__ import annotations

import functools
import struct
from pathlib import Path

import tvm_ffi

from . import cuda_compatibility
from .cuda_toolchain import assemble, compile_source, find_toolchain
from .errors import ArtifactError, UnsupportedError

SYMBOL = "__tvm_ffi__library_bin"  # where TVM's loader looks for imported modules
FORMATS = (b"cuda", b"cubin")  # of code that TVM holds: without and with a CUDA driver
ASSEMBLY = """\
.section .rodata
.balign 64
.globl {symbol}
.type {symbol}, %object
.size {symbol}, {size}
{symbol}:
.incbin "{path}"
"""


def cuda_source(module) -> str | None:
    """The CUDA C of a built module's kernels, or None if it has none."""
    for imported in module.imports:
        if imported.kind == "cuda":
            return str(imported.inspect_source("cuda"))
    return None


def code_for(source: str, arch: str, kind: str) -> bytes:
    """What an artifact holds of its kernels: machine code (``kind`` cubin), or PTX for as old drivers as it suits."""
    return portable_ptx(source, arch) if kind == "ptx" else compile_source(source, arch, kind)


@functools.lru_cache(maxsize=8)
def portable_ptx(source: str, arch: str) -> bytes:
    """PTX that declares the oldest version of `cuda_compatibility.PTX_FOR_DRIVERS` that it is written in.

    NVRTC declares its own version whatever the code uses, and a driver refuses what is newer than itself: 12.9's is
    8.8, which no driver for Xavier takes. ptxas holds each instruction to the declared version, so what it accepts is
    what older drivers' compilers know. Without ptxas, and for GPUs that are newer than those versions, NVRTC's own
    stays.
    """
    ptx = compile_source(source, arch, "ptx")
    for version in cuda_compatibility.PTX_FOR_DRIVERS:
        if cuda_compatibility.ptx_version(ptx) <= version:
            break
        older = cuda_compatibility.declare(ptx, version)
        try:
            assemble(older, arch)
        except UnsupportedError:
            continue
        return older
    return ptx


def requirements(module, arch: str, kind: str) -> dict | None:
    """`cuda_compatibility.requirements` of a built module's kernels; None if it has none."""
    source = cuda_source(module)
    if source is None:
        return None
    return cuda_compatibility.requirements(kind, find_toolchain(arch).version, code_for(source, arch, kind))


def packer(arch: str, kind: str = "cubin"):
    """``fpack_imports`` for ``Module.export_library``: kernels as machine code for ``arch`` (or its PTX).

    Raises
    ------
    UnsupportedError
        When called, if the kernels cannot be compiled; see `cuda_toolchain.compile_source`.
    """

    def pack(module, _is_system_lib, prefix, folder):
        packed = tvm_ffi.get_global_func("runtime.ModulePackImportsToTensor")(module).numpy().tobytes()
        source = cuda_source(module)
        if source is not None:
            code, before = code_for(source, arch, kind), packed
            packed = replace_source(before, source.encode(), code, kind)
            if packed == before and kind == "ptx":  # a CUDA driver was at hand: TVM holds the machine code already
                packed = replace_source(before, compile_source(source, arch), code, kind)
        blob, assembly = Path(folder) / "kernels.bin", Path(folder) / "kernels.s"
        blob.write_bytes(packed)
        assembly.write_text(ASSEMBLY.format(symbol=prefix + SYMBOL, size=len(packed), path=blob))
        return str(assembly)

    return pack


def replace_source(packed: bytes, source: bytes, code: bytes, kind: str) -> bytes:
    """TVM's serialized imports with ``code`` of format ``kind`` where ``source`` was; other bytes as they are.

    Layout (TVM 0.27): length of all that follows; the import tree; for each module its kind and its bytes. A CUDA
    module's bytes are format, function table, code. Every string is preceded by its length, 64-bit
    little-endian like all lengths.
    """
    tail = _string(source)
    end = packed.find(tail) + len(tail)
    if end < len(tail):
        return packed  # TVM keeps CUDA C only where there is no CUDA driver
    head = _string(b"cuda")
    start = packed.find(head) + len(head)
    while start >= len(head):
        (size,) = struct.unpack_from("<Q", packed, start)
        held = next((form for form in map(_string, FORMATS) if packed.startswith(form, start + 8)), None)
        if start + 8 + size == end and held is not None:
            table = packed[start + 8 + len(held) : end - len(tail)]
            record = _string(_string(kind.encode()) + table + _string(code))
            body = packed[8:start] + record + packed[end:]
            return struct.pack("<Q", len(body)) + body
        start = packed.find(head, start) + len(head)
    raise ArtifactError("this TVM serializes CUDA modules in a form that is not known here; use apache-tvm 0.27")


def _string(data: bytes) -> bytes:
    return struct.pack("<Q", len(data)) + data
