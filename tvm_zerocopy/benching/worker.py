"""One engine's process: loads it, then runs frames on request and says how long each took.

Started by `contender.Contender`; requests and answers are lines of JSON. A process of its own for each engine keeps
their thread pools, allocators and crashes apart, and makes peak memory one engine's.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from ..errors import ZeroCopyError


def main() -> int:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries that print do not disturb the answers
    name, work_file = sys.argv[1:]
    text = Path(work_file).read_text()
    os.environ["TVM_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(json.loads(text)["threads"])
    return 0 if _serve(name, text, answers) else 1


def _serve(name: str, work_text: str, answers) -> bool:
    from .engines import ENGINES
    from .work import Work

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    try:
        work = Work.from_json(work_text)
        loaded = ENGINES[name].load(work)
        process = _Process(loaded, work)
        process.first_run()
        answer(
            compile_seconds=loaded.compile_seconds,
            artifact_bytes=loaded.artifact_bytes,
            output_shapes=loaded.output_shapes(),
        )
        for line in sys.stdin:
            request = json.loads(line)
            if "count" in request:
                answer(seconds=process.run(request["settle"], request["count"]))
            else:
                process.save_results(request["results"])
                answer(peak_bytes=_peak_bytes())
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        answer(error=text if isinstance(error, ZeroCopyError) else f"{type(error).__name__}: {text[:300]}")
        return False
    return True


class _Process:
    def __init__(self, loaded, work):
        self.run_one, self.frames = loaded.run, work.load_frames()
        self.next = 0

    def first_run(self) -> None:
        _forget_peak()
        self.run_one(self.frames[0])

    def run(self, settle: int, count: int) -> list:
        """Seconds of ``count`` frames, after ``settle`` that are not timed."""
        seconds = []
        for step in range(settle + count):
            frame = self.frames[self.next % len(self.frames)]
            self.next += 1
            begin = time.perf_counter()
            self.run_one(frame)
            if step >= settle:
                seconds.append(time.perf_counter() - begin)
        return seconds

    def save_results(self, path: str) -> None:
        """What every frame gives, as ``frame0_0``, ``frame0_1``, ... in one .npz."""
        found = {}
        for index, frame in enumerate(self.frames):
            for part, value in enumerate(self.run_one(frame)):
                found[f"frame{index}_{part}"] = np.array(value)
        np.savez(path, **found)


def _forget_peak() -> None:
    """From here on VmHWM is of running, not of building; see proc_pid_clear_refs(5)."""
    with contextlib.suppress(OSError):  # then building is part of the peak
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes():
    """Peak resident memory of this process in bytes."""
    try:
        status = Path("/proc/self/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    raise SystemExit(main())
