"""The sqlite export of Nsight Systems.

User Guide, "SQLite Schema Reference": each copy is a row of CUPTI_ACTIVITY_KIND_MEMCPY (copyCount of them where it was
a batch), each fill of .._MEMSET, each launch of .._KERNEL, and of .._GRAPH_TRACE that of a graph whose nodes were not
recorded. Tables for which nothing was recorded are missing. Kinds are numbers whose words are in ENUM_ tables since
2021.4; before, the guide has them. Names of kernels are numbers in StringIds.
"""

from __future__ import annotations

import contextlib
import sqlite3

from ..errors import SourceError
from .cupti import COPY_KINDS
from .moves import FILL, GRAPH, GpuKernel, GpuMove

# User Guide, "SQLite Schema Event Values": CUPTI's copy kinds and unified memory's; memory kinds are not CUPTI's.
_COPY_KINDS = dict(
    enumerate((*COPY_KINDS, "Unified Host-to-Device", "Unified Device-to-Host", "Unified Device-to-Device"))
)
_MEMORY_KINDS = dict(
    enumerate(("Pageable", "Pinned", "Device", "Array", "Managed", "Device Static", "Managed Static", "Unknown"))
)
_TABLES = {name: f"CUPTI_ACTIVITY_KIND_{name}" for name in ("MEMCPY", "MEMSET", "KERNEL", "GRAPH_TRACE")}


def read(path) -> list:
    """Its moves and kernels, as `GpuMove` and `GpuKernel`.

    Raises
    ------
    SourceError
        If it is no such export, is damaged, or nothing of CUDA was recorded.
    """
    try:
        with contextlib.closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            columns = {name: _columns(database, table) for name, table in _TABLES.items()}
            if not any(columns.values()):
                raise SourceError(f"{path} holds no CUDA activity; record with nsys profile --trace=cuda, then export")
            rows = []
            if columns["MEMCPY"]:
                rows += _copies(database, columns["MEMCPY"])
            if columns["MEMSET"]:
                query = f"SELECT COUNT(*), SUM(bytes), SUM(end - start) FROM {_TABLES['MEMSET']}"
                rows += [_move(FILL, None, None, *row) for row in database.execute(query) if row[0]]
            if columns["KERNEL"]:
                rows += _kernels(database, columns["KERNEL"])
            if columns["GRAPH_TRACE"]:
                query = f"SELECT COUNT(*), SUM(end - start) FROM {_TABLES['GRAPH_TRACE']}"
                rows += [GpuKernel(GRAPH, count, time / 1e9) for count, time in database.execute(query) if count]
            return rows
    except sqlite3.Error as error:
        raise SourceError(f"{path} is damaged or no export of Nsight Systems ({error}); export it again") from None


def _columns(database, table: str) -> list:
    return [row[1] for row in database.execute(f"PRAGMA table_info({table})")]


def _words(database, table: str, known: dict) -> dict:
    if "label" not in _columns(database, table):
        return known
    return {**known, **dict(database.execute(f"SELECT id, label FROM {table}"))}


def _copies(database, columns) -> list:
    kinds = _words(database, "ENUM_CUDA_MEMCPY_OPER", _COPY_KINDS)
    memory = _words(database, "ENUM_CUDA_MEM_KIND", _MEMORY_KINDS)
    ends = "srcKind, dstKind" if {"srcKind", "dstKind"} <= set(columns) else "NULL, NULL"
    count = "SUM(COALESCE(NULLIF(copyCount, 0), 1))" if "copyCount" in columns else "COUNT(*)"
    query = f"SELECT copyKind, {ends}, {count}, SUM(bytes), SUM(end - start) FROM {_TABLES['MEMCPY']} GROUP BY 1, 2, 3"
    return [
        _move(kinds.get(kind, f"kind {kind}"), memory.get(source), memory.get(destination), *figures)
        for kind, source, destination, *figures in database.execute(query)
    ]


def _move(operation, source, destination, count, size, nanoseconds) -> GpuMove:
    source, destination = (kind and kind.lower() for kind in (source, destination))
    return GpuMove(operation, source, destination, count, size, nanoseconds / 1e9)


def _kernels(database, columns) -> list:
    name = "demangledName" if "demangledName" in columns else "shortName" if "shortName" in columns else "name"
    strings = dict(database.execute("SELECT id, value FROM StringIds")) if _columns(database, "StringIds") else {}
    query = f"SELECT {name}, COUNT(*), SUM(end - start) FROM {_TABLES['KERNEL']} GROUP BY 1"
    return [
        GpuKernel(str(strings.get(key, key)), count, nanoseconds / 1e9)
        for key, count, nanoseconds in database.execute(query)
    ]
