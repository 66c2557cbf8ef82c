"""What ``nsys stats`` prints, as CSV or in columns: one or several reports, with the program's chatter around them.

User Guide, "Report Scripts": cuda_gpu_trace has a line for each operation, cuda_gpu_mem_size_sum, cuda_gpu_mem_time_sum
and cuda_gpu_kern_sum a line for each kind. Units are in the headings: ``Total (MB)``, ``Duration (ns)``.
"""

from __future__ import annotations

import csv
import re
from pathlib import Path

from ..errors import SourceError
from .moves import FILL, GpuKernel, GpuMove

_HOW = "LC_ALL=C nsys stats --format csv --report cuda_gpu_trace"
# Of a heading's unit; nsys' MB are 10^6 bytes.
_UNITS = {
    **{"ns": 1e-9, "us": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1, "sec": 1},
    **{"B": 1, "byte": 1, "bytes": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12},
    **{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40},
}
_OPERATION = re.compile(r"\[CUDA (Unified Memory )?(memcpy|memset)(?: ([^\]]+))?\]")
_SHORT = {"HtoD": "Host-to-Device", "DtoH": "Device-to-Host", "DtoD": "Device-to-Device", "HtoH": "Host-to-Host"}
_SHORT["PtoP"] = "Peer-to-Peer"
_RULE = re.compile(r"\s*-+( +-+)+\s*")  # between a table's heading and its lines, where it is in columns
_GROUPED = r"\d{1,3}(?:,\d{3})+"
_WHOLE = re.compile(rf"\d+|{_GROUPED}")
_DECIMAL = re.compile(rf"\d+(?:\.\d+)?|{_GROUPED}\.\d+")  # 12,000 alone is 12 in other languages' notation


def read(path: Path) -> list:
    """Its moves and kernels, as `GpuMove` and `GpuKernel`.

    Raises
    ------
    SourceError
        If it holds none of these reports, or numbers in another notation than C's.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise SourceError(f"{path} is no text; give the output of {_HOW}") from None
    reports: dict = {}
    for kind, row in _rows(text):
        reports.setdefault(kind, []).append(row)
    try:
        return _combine(reports)
    except _NotSo as error:
        raise SourceError(f"{path}: {error}; write it with {_HOW}") from None


class _NotSo(Exception):
    """What is wrong with a cell or heading."""


def _rows(text: str):
    """(report, {heading: cell}) of every line under a known heading line; a line that does not fit ends a report."""
    heading, kind = None, None
    for cells in _cells(text.splitlines()):
        found = _kind(cells)
        if found is not None:
            heading, kind = cells, found
        elif heading is not None and len(cells) == len(heading):
            yield kind, dict(zip(heading, cells))
        else:
            heading = None


def _cells(lines):
    """The cells of every line: CSV, or columns as wide as the dashes under their heading until a line is empty."""
    spans = []
    for line, below in zip(lines, [*lines[1:], ""]):
        if _RULE.fullmatch(below):
            spans = [match.span() for match in re.finditer("-+", below)]
            spans[-1] = (spans[-1][0], None)
        if not line.strip():
            spans = []
        if spans:
            if not _RULE.fullmatch(line):
                yield [line[begin:end].strip() for begin, end in spans]
        else:
            yield next(csv.reader([line]), [])


def _kind(cells):
    names = {cell.split(" (")[0] for cell in cells}
    if {"Start", "Duration", "CorrId", "Name"} <= names:
        return "trace"
    if {"Total", "Count", "Operation"} <= names:
        return "sizes"
    if {"Total Time", "Count", "Operation"} <= names:
        return "times"
    if {"Total Time", "Instances", "Name"} <= names:
        return "kernels"
    return None


def _combine(reports: dict) -> list:
    if not reports:
        raise _NotSo("there is no report of GPU copies or kernels in it")
    if "trace" in reports:  # it has everything, line by line
        return [_traced(row) for row in reports["trace"]]
    rows = [
        GpuKernel(row["Name"], _count(row["Instances"]), _quantity(row, "Total Time"))
        for row in reports.get("kernels", ())
    ]
    sizes = {row["Operation"]: row for row in reports.get("sizes", ())}
    times = {row["Operation"]: row for row in reports.get("times", ())}
    for name in dict.fromkeys((*sizes, *times)):
        size, time = sizes.get(name), times.get(name)
        rows.append(
            GpuMove(
                _operation(name) or name,
                *(None, None),
                _count((size or time)["Count"]),
                round(_quantity(size, "Total")) if size else None,
                _quantity(time, "Total Time") if time else None,
            )
        )
    return rows


def _traced(row: dict):
    operation, seconds = _operation(row["Name"]), _quantity(row, "Duration")
    if operation is None:
        return GpuKernel(row["Name"], 1, seconds)
    source, destination = (row.get(key, "").lower() or None for key in ("SrcMemKd", "DstMemKd"))
    return GpuMove(operation, source, destination, 1, round(_quantity(row, "Bytes")), seconds)


def _operation(name: str):
    """``[CUDA memcpy HtoD]`` -> "Host-to-Device"; None for a kernel."""
    match = _OPERATION.fullmatch(name.strip())
    if match is None:
        return None
    unified, what, kind = match.groups()
    if what == "memset":
        return FILL
    return ("Unified " if unified else "") + _SHORT.get(kind, kind or "Unknown")


def _quantity(row: dict, name: str) -> float:
    """The cell of a column in seconds or bytes."""
    for heading, cell in row.items():
        if heading.split(" (")[0] == name:
            unit = heading[len(name) :].strip(" ()")
            if unit not in _UNITS:
                raise _NotSo(f"the column {heading!r} has no unit that is known (2021.4 and later write one)")
            return _number(cell, _WHOLE if unit == "ns" else _DECIMAL) * _UNITS[unit]
    raise _NotSo(f"a report has no column {name}")


def _number(cell: str, notation) -> float:
    if not notation.fullmatch(cell):
        raise _NotSo(f"{cell!r} is not a number as C writes it")
    return float(cell.replace(",", ""))


def _count(cell: str) -> int:
    return int(_number(cell, _WHOLE))
