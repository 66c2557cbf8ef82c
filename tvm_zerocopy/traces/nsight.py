"""Reads what Nsight Systems exports, of anybody's pipeline.

NVIDIA Nsight Systems User Guide, "Exporting" and "Report Scripts": ``nsys export --type sqlite`` writes a database;
``nsys stats`` prints tables.
"""

from __future__ import annotations

from pathlib import Path

from ..errors import SourceError
from . import nsight_csv, nsight_sqlite
from .moves import GpuMoves, gpu_moves

_SQLITE = b"SQLite format 3\0"
_HOW = "nsys export --type sqlite, or nsys stats --report cuda_gpu_trace"


def read_nsight(path, frames: int = 1) -> GpuMoves:
    """The moves and kernels of a profile.

    Parameters
    ----------
    path : path-like
        An sqlite export, or what ``nsys stats`` printed, in columns or as CSV, of the reports cuda_gpu_trace,
        cuda_gpu_mem_size_sum, cuda_gpu_mem_time_sum or cuda_gpu_kern_sum (or several of them in one file). Printed
        sizes are rounded to what their unit shows; the sqlite export is exact.
    frames : int
        Frames that were profiled; figures are given for one.

    Raises
    ------
    SourceError
        If the file cannot be read, or is something else; it says what would be right.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            start = file.read(64)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}; give a file that {_HOW} wrote") from None
    if start.startswith(_SQLITE):
        rows = nsight_sqlite.read(path)
    elif path.suffix in (".nsys-rep", ".qdrep") or b"\0" in start:
        raise SourceError(f"{path} is no export that can be read; write one: {_HOW} {path.name}")
    else:
        rows = nsight_csv.read(path)
    return gpu_moves(rows, frames)
