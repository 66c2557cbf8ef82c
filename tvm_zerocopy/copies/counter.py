"""The counting library: compiled when it is needed, preloaded into a child process, read from inside it."""

from __future__ import annotations

import ctypes
import os
import platform
import shutil
import subprocess
from pathlib import Path

from ..errors import UnsupportedError

SOURCE = Path(__file__).with_name("counter.c")
SMALLEST_COPY = 256  # bytes; below it are arguments, pointers and lists (TVM's workspace pool sorts its free blocks)
_DEPTH, _TEXT = 12, 1024  # as in counter.c; longest symbol
_KINDS = ("allocation", "copy")


def build(folder: Path) -> Path:
    """Compile the counting library into a folder; its path.

    Raises
    ------
    UnsupportedError
        If this is no Linux with glibc, or there is no C compiler.
    """
    if platform.system() != "Linux" or platform.libc_ver()[0] != "glibc":
        raise UnsupportedError("counting allocations preloads a library, which needs Linux with glibc; run it there")
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", ""), "cc", "gcc", "clang"))), None)
    if compiler is None:
        raise UnsupportedError("counting allocations needs a C compiler: install gcc (apt install gcc), or set CC")
    library = Path(folder) / "counter.so"
    flags = ["-O2", "-fPIC", "-shared", "-fno-builtin", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run([compiler, *flags], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no output"])[0]
        raise UnsupportedError(f"{compiler} cannot compile the counting library: {reason}")
    return library


class _Site(ctypes.Structure):  # struct site of counter.c
    _fields_ = [
        ("step", ctypes.c_int32),
        ("kind", ctypes.c_int32),
        ("function", ctypes.c_char_p),
        ("calls", ctypes.c_uint64),
        ("bytes", ctypes.c_uint64),
        ("depth", ctypes.c_int32),
        ("frames", ctypes.c_void_p * _DEPTH),
    ]


class Counter:
    """The preloaded library, from inside the process that it counts.

    Raises
    ------
    UnsupportedError
        If the library is not preloaded.
    """

    def __init__(self):
        self._library = ctypes.CDLL(None)
        if not hasattr(self._library, "tz_count"):
            raise UnsupportedError("the counting library is not preloaded; start through `tvm-zerocopy audit`")
        self._library.tz_site.restype = ctypes.POINTER(_Site)
        self._library.tz_symbol.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t]
        self._library.tz_lost.restype = ctypes.c_ulong
        self._library.tz_smallest_copy(ctypes.c_size_t(SMALLEST_COPY))
        self.count = self._library.tz_count  # count(step): from now on for that step; count(-1): no more

    def sites(self) -> list:
        """Every distinct place that allocated or copied: a dict with step, kind, function, calls, bytes and stack.

        ``stack`` is a list of [file, symbol], the caller first; no file for code that was compiled in memory.

        Raises
        ------
        UnsupportedError
            If there were more places than the library can hold, so that the count would be short.
        """
        if self._library.tz_lost():
            raise UnsupportedError("the program allocates in more places than can be counted; measure fewer steps")
        found, files = [], _mapped_files()
        for index in range(self._library.tz_site_count()):
            site = self._library.tz_site(index).contents
            found.append(
                {
                    "step": site.step,
                    "kind": _KINDS[site.kind],
                    "function": site.function.decode(),
                    "calls": site.calls,
                    "bytes": site.bytes,
                    "stack": [self._describe(site.frames[frame], files) for frame in range(site.depth)],
                }
            )
        return found

    def _describe(self, address, files) -> list:
        text = ctypes.create_string_buffer(_TEXT)
        self._library.tz_symbol(address, text, _TEXT)
        library = next((path for start, end, path in files if start <= address < end), "")
        return [library, text.value.decode(errors="replace")]


def _mapped_files() -> list:
    """[(first address, one past the last, file)] of this process's mapped files, by their real names."""
    found = []
    with open("/proc/self/maps", encoding="utf-8") as file:
        for line in file:
            addresses, _, _, _, _, *path = line.rstrip("\n").split(maxsplit=5)
            if path and path[0].startswith("/"):
                start, end = (int(part, 16) for part in addresses.split("-"))
                found.append((start, end, path[0]))
    return found
