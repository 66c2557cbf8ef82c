"""Kernels and copies on a CUDA device, by CUPTI's activity records (the package cupti-python).

CUPTI documentation, "CUPTI Activity API": records have ``start`` and ``end`` in nanoseconds of CUPTI's clock, which
``cuptiGetTimestamp`` reads too.
"""

from __future__ import annotations

import contextlib
import time

from ..errors import UnsupportedError
from .events import TraceEvent

_BUFFER = 8 << 20  # bytes; CUPTI asks for another when it is full
# CUpti_ActivityMemcpyKind and CUpti_ActivityMemoryKind.
COPY_KINDS = (
    *("Unknown", "Host-to-Device", "Device-to-Host", "Host-to-Array", "Array-to-Host", "Array-to-Array"),
    *("Array-to-Device", "Device-to-Array", "Device-to-Device", "Host-to-Host", "Peer-to-Peer"),
)
MEMORY_KINDS = ("unknown", "pageable", "pinned", "device", "array", "managed", "device static", "managed static")


def record(calls) -> list:
    """Make calls one after the other and record what the GPU does for them.

    Parameters
    ----------
    calls : sequence of (str, callable)
        A name, and what to call; it returns when the GPU has finished.

    Returns
    -------
    list of TraceEvent
        On the clock of ``time.monotonic()``.

    Raises
    ------
    UnsupportedError
        If cupti-python is missing, or CUPTI refuses (another profiler runs, or it needs privileges).
    """
    cupti = _cupti()
    records: list = []

    def completed(activities):
        records.extend(activities)

    kinds = [getattr(cupti.ActivityKind, name) for name in ("CONCURRENT_KERNEL", "MEMCPY", "MEMCPY2", "MEMSET")]
    enabled = []
    events = []
    try:
        with _refusals(cupti):
            cupti.activity_register_callbacks(_buffer_size, completed)
            for kind in kinds:
                cupti.activity_enable(kind)
                enabled.append(kind)
            # CUPTI's clock is another one than Python's; both are read at the same moment.
            offset = cupti.get_timestamp() - time.monotonic_ns()
        for name, call in calls:
            begin = time.monotonic()
            call()
            events.append(TraceEvent(name, "host", begin, time.monotonic() - begin, "host"))
        with _refusals(cupti):
            cupti.activity_flush_all(1)
    finally:
        for kind in enabled:
            cupti.activity_disable(kind)
    return events + [gpu_event(record, int(record.kind) == int(kinds[0]), offset) for record in records]


@contextlib.contextmanager
def _refusals(cupti):
    """CUPTI's errors as ours. Those of its loading (no driver, a function that it lacks) are RuntimeErrors."""
    try:
        yield
    except (cupti.cuptiError, RuntimeError) as error:
        raise UnsupportedError(
            f"CUPTI: {error}; close other profilers, let users profile (NVreg_RestrictProfilingToAdminUsers=0), and "
            "use the cupti-python of your CUDA's major version"
        ) from None


def _buffer_size():
    """Bytes of a new buffer, and how many records it may hold: as many as fit."""
    return _BUFFER, 0


def gpu_event(record, is_kernel: bool, offset: int = 0) -> TraceEvent:
    """The event of an activity record: a kernel, a copy or a fill; ``offset`` nanoseconds are taken off its clock."""
    begin, seconds = (record.start - offset) * 1e-9, (record.end - record.start) * 1e-9
    where = f"stream {record.stream_id}"
    if is_kernel:
        facts = {
            "grid": [record.grid_x, record.grid_y, record.grid_z],
            "block": [record.block_x, record.block_y, record.block_z],
            "registers": record.registers_per_thread,
        }
        return TraceEvent(record.name, "kernel", begin, seconds, f"kernels, {where}", facts)
    facts = {"bytes": record.bytes}
    name = "memset"
    if hasattr(record, "copy_kind"):
        name = f"memcpy {COPY_KINDS[record.copy_kind]}"
        facts.update({"from": MEMORY_KINDS[record.src_kind], "to": MEMORY_KINDS[record.dst_kind]})
    return TraceEvent(name, "copy", begin, seconds, f"copies, {where}", facts)


def _cupti():
    try:
        from cupti import cupti
    except ImportError as error:
        raise UnsupportedError(
            f"a trace on CUDA needs cupti-python ({error}): pip install cupti-python, of the major version of your CUDA"
        ) from None
    return cupti
