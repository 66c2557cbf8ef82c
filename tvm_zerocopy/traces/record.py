"""The trace of an engine: what the host does, every kernel, every copy."""

from __future__ import annotations

import time
from functools import partial

from . import cupti
from .events import TraceEvent


def trace_engine(engine, frames, warmup: int = 3) -> list:
    """Run an engine on frames, one after the other, and record what happens.

    On the CPU the program's own clock readings are used, between kernels that run as always. On CUDA, CUPTI.

    Parameters
    ----------
    engine : Engine
    frames : sequence
        What the engine takes.
    warmup : int
        Unrecorded runs before.

    Returns
    -------
    list of TraceEvent
        Tracks "host", "kernels" and "copies" (kernels that only move are copies).

    Raises
    ------
    UnsupportedError
        On CUDA without CUPTI.
    """
    for _ in range(warmup):
        engine(frames[0])
    if engine.runs_on_cuda:
        return cupti.record([(f"frame {number}", partial(engine, frame)) for number, frame in enumerate(frames)])
    events = []
    for number, frame in enumerate(frames):
        begin = time.monotonic()
        kernels = engine.trace_kernels(frame)
        events.append(TraceEvent(f"frame {number}", "host", begin, time.monotonic() - begin, "host"))
        for call, (name, start, seconds) in zip(engine.program["calls"], kernels):
            category, track = ("copy", "copies") if call["copy"] else ("kernel", "kernels")
            events.append(TraceEvent(name, category, start, seconds, track, _facts(call, number)))
    return events


def _facts(call: dict, number: int) -> dict:
    facts = {"frame": number}
    for key, arguments in (("bytes read", call["inputs"]), ("bytes written", call["outputs"])):
        sizes = [argument["nbytes"] for argument in arguments]
        if all(isinstance(size, int) for size in sizes):
            facts[key] = sum(sizes)
    return facts
