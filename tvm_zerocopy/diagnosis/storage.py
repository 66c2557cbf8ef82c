"""Folders that are written: room, permission, and libraries that may run from them."""

import mmap
import os
import shutil
import tempfile
from pathlib import Path
from typing import Tuple

from .result import CheckResult, fail, ok, warn

_ENOUGH = 1e9  # bytes; a compiled YOLOv5s and its tuning log are 0.1e9


def disk(logs: str) -> CheckResult:
    """The folder for logs and the temporary folder (where compilers write)."""
    places = {"logs": _existing(Path(logs)), "temporary": Path(tempfile.gettempdir())}
    figures, broken, low, closed = {}, [], [], []
    for name, folder in places.items():
        free, writable, executable = _look(folder)
        figures[name] = {"free_gb": round(free / 1e9, 1), "writable": writable, "executable": executable}
        if not writable:
            broken.append(f"{name} folder {folder}")
        elif not executable:
            closed.append(f"{name} folder {folder}")
        elif free < _ENOUGH:
            low.append(f"{name} folder {folder} ({free / 1e6:.0f} MB)")
    detail = "; ".join(f"{name} folder: {facts['free_gb']} GB free" for name, facts in figures.items())
    if broken:
        mend = "give another with --logs, change its owner or permissions, or set TMPDIR"
        return fail(f"cannot write to {' and '.join(broken)}", mend, **figures)
    if closed:
        mend = "compiled programs cannot run from there: mount it without noexec, or set TMPDIR"
        return warn(f"noexec: {' and '.join(closed)}", mend, **figures)
    wanted = os.environ.get("TMPDIR")
    if wanted and not os.path.samefile(places["temporary"], _existing(Path(wanted))):
        mend = "set TMPDIR to a folder that can be written; compilers fail without one"
        return warn(f"TMPDIR={wanted} cannot be written; Python takes {places['temporary']} instead", mend, **figures)
    if low:
        return warn(
            f"little room: {' and '.join(low)}", "free 1 GB, or choose another with --logs or TMPDIR", **figures
        )
    return ok(f"{detail}; both can be written and run from", **figures)


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there: where it would be made."""
    return next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)


def _look(folder: Path) -> Tuple[float, bool, bool]:
    """Free bytes; whether a file can be written and read back; whether its pages can be run."""
    try:
        free = shutil.disk_usage(folder).free
        with tempfile.NamedTemporaryFile(dir=folder, prefix="tvm_zerocopy_") as file:
            file.write(b"x" * mmap.PAGESIZE)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            writable = file.read() == b"x" * mmap.PAGESIZE
            return free, writable, _can_run(file.fileno())
    except OSError:
        return 0.0, False, False


def _can_run(file: int) -> bool:
    if not hasattr(mmap, "PROT_EXEC"):
        return True
    try:
        mmap.mmap(file, mmap.PAGESIZE, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC).close()
    except (PermissionError, OSError):
        return False
    return True
