"""Trace files that Perfetto (ui.perfetto.dev) and chrome://tracing open.

Google, "Trace Event Format": complete events (``ph`` "X") with ``ts`` and ``dur`` in microseconds on a process and
thread; metadata events (``ph`` "M") name the threads.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from ..errors import SourceError

_PROCESS = 1


@dataclass(frozen=True)
class TraceEvent:
    """Something that took time.

    Attributes
    ----------
    name : str
    category : {"host", "kernel", "copy"}
    begin : float
        Seconds on any one clock.
    seconds : float
    track : str
        The row that it is drawn on; events of a row lie beside or inside each other.
    facts : dict
        What a viewer shows on a click, JSON values.
    """

    name: str
    category: str
    begin: float
    seconds: float
    track: str
    facts: dict = field(default_factory=dict)


def to_chrome(events, facts=None) -> dict:
    """The trace as JSON values; the first event begins at 0.

    Parameters
    ----------
    events : sequence of TraceEvent
    facts : dict, optional
        About the whole trace.
    """
    zero = min((event.begin for event in events), default=0.0)
    tracks = {name: number for number, name in enumerate(dict.fromkeys(event.track for event in events), 1)}
    found = [{"ph": "M", "name": "process_name", "pid": _PROCESS, "tid": 0, "args": {"name": "tvm-zerocopy"}}]
    for name, number in tracks.items():
        place = {"pid": _PROCESS, "tid": number}
        found.append({"ph": "M", "name": "thread_name", **place, "args": {"name": name}})
        found.append({"ph": "M", "name": "thread_sort_index", **place, "args": {"sort_index": number}})
    for event in sorted(events, key=lambda event: (event.begin, -event.seconds)):
        begin, end = (round((moment - zero) * 1e9) for moment in (event.begin, event.begin + event.seconds))
        found.append(
            {
                "ph": "X",
                "name": event.name,
                "cat": event.category,
                "pid": _PROCESS,
                "tid": tracks[event.track],
                "ts": begin / 1e3,
                # 2 ns shorter: viewers drop what overlaps, as neighbours do by the rounding of ts and dur.
                "dur": max(end - begin - 2, 0) / 1e3,
                "args": event.facts,
            }
        )
    return {"traceEvents": found, "displayTimeUnit": "ms", "otherData": facts or {}}


def write_trace(path, events, facts=None) -> None:
    """Write `to_chrome` to a file.

    Raises
    ------
    SourceError
        If the file cannot be written.
    """
    try:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(to_chrome(events, facts), file)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}; give a file that can be written") from None
