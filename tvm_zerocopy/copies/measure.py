"""Heap allocations and copies a frame of any pipeline, measured in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .. import errors
from .counter import build

WARMUP = 10  # frames before the count: thread pools start, caches and workspaces fill


@dataclass(frozen=True)
class Place:
    """One place in the code that allocated or copied.

    Attributes
    ----------
    kind : {"allocation", "copy"}
    function : str
        malloc, mmap, memcpy, ...
    calls, bytes : int
        Over all frames.
    caller : str
        ``library:symbol`` of the nearest caller that is not the C or C++ library.
    in_kernel : bool
        Called by a compiled kernel (a loop that the compiler made a memcpy of), not by the program around it.
    """

    kind: str
    function: str
    calls: int
    bytes: int
    caller: str
    in_kernel: bool


@dataclass(frozen=True)
class StepCount:
    """What one step of a pipeline did in ``frames`` frames.

    ``made`` is the bytes of the array that it returned: what it moved in loops of its own, where nobody can count.
    """

    name: str
    frames: int
    made: int
    places: tuple

    def per_frame(self) -> dict:
        """Averages over the frames, exact zeros where nothing was.

        ``allocations``, ``allocated_bytes``; ``copies``, ``copied_bytes`` outside kernels; ``kernel_copies``,
        ``kernel_copied_bytes``; ``made_bytes``.
        """
        figures = {}
        for name, size, kind, in_kernel in (
            ("allocations", "allocated_bytes", "allocation", (False, True)),
            ("copies", "copied_bytes", "copy", (False,)),
            ("kernel_copies", "kernel_copied_bytes", "copy", (True,)),
        ):
            places = [place for place in self.places if place.kind == kind and place.in_kernel in in_kernel]
            figures[name] = _ratio(sum(place.calls for place in places), self.frames)
            figures[size] = _ratio(sum(place.bytes for place in places), self.frames)
        return {**figures, "made_bytes": self.made}


def measure(pipeline: str, arguments: dict, frames: int, kernels: tuple = ()) -> list:
    """Run a pipeline in a child process under the counting library.

    Parameters
    ----------
    pipeline : str
        "module:function"; ``function(**arguments)`` sets up and returns ``[(step's name, callable), ...]``.
    arguments : dict
        JSON values.
    frames : int
        Counted, after `WARMUP` uncounted ones.
    kernels : tuple of str
        Libraries that hold compiled kernels (the artifact). Code of no library was compiled in memory: kernels too.

    Returns
    -------
    list of StepCount
        One a step. The threads of the process are all counted.

    Raises
    ------
    UnsupportedError
        If there is no C compiler or no glibc; if the measuring itself allocated, so that figures would be wrong.
    ZeroCopyError
        What the pipeline raised.
    """
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        answer = Path(folder) / "answer.json"
        request = {
            "answer": str(answer),
            "measure": {"pipeline": pipeline, "arguments": arguments, "frames": frames, "warmup": WARMUP},
        }
        environment = {
            **os.environ,
            "LD_PRELOAD": ":".join(filter(None, [str(library), os.environ.get("LD_PRELOAD")])),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        }
        command = [sys.executable, "-m", f"{__package__}.child", json.dumps(request)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if not answer.exists():
            reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            raise errors.UnsupportedError(f"the measured process died: {reason}")
        result = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in result:
        raise getattr(errors, result["error"])(result["message"])
    nothing, *steps = _steps(result, {os.path.realpath(kernel) for kernel in kernels})
    if nothing.places:
        raise errors.UnsupportedError(f"the measuring itself allocates here ({nothing.places[0].caller}): no figures")
    return steps


def _steps(result: dict, kernels: set) -> list:
    places = [[] for _ in result["steps"]]
    for site in result["sites"]:
        places[site["step"]].append(
            Place(
                site["kind"],
                site["function"],
                site["calls"],
                site["bytes"],
                _caller(site["stack"]),
                _is_kernel(site["stack"], kernels),
            )
        )
    each = zip(result["steps"], result["made"], places)
    return [StepCount(name, result["frames"], made, tuple(found)) for name, made, found in each]


def _caller(stack) -> str:
    for library, symbol in stack:
        name = os.path.basename(library)
        if not name.startswith(("libc.so", "libstdc++", "counter.so", "libgcc")):
            return f"{name or 'compiled in memory'}{':' + symbol if symbol else ''}"
    return "unknown"


def _is_kernel(stack, kernels: set) -> bool:
    library = next((library for library, _ in stack if not library.endswith("/counter.so")), "?")
    return not library or os.path.realpath(library) in kernels


def _ratio(total: int, frames: int):
    return total // frames if total % frames == 0 else round(total / frames, 2)
