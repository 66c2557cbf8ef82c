"""One engine in the race, as the race sees it: a process that runs frames on request."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from pathlib import Path

import numpy as np

from .engines import EngineAdapter
from .work import Work

LOADS = 1800.0  # seconds that an engine may take to load and run once: TensorRT searches for many minutes on a Jetson
A_FRAME = 30.0  # and for each frame of a request


class ContenderFailed(Exception):
    """The engine could not load or run; the message says why."""


class Contender:
    """Starts the process and waits until the engine is loaded and has run once.

    Attributes
    ----------
    adapter : EngineAdapter
    facts : dict
        compile_seconds, artifact_bytes, output_shapes; peak_bytes at the end.
    """

    def __init__(self, adapter: EngineAdapter, work: Work, show_errors: bool = False):
        self.adapter, self._work = adapter, work
        work_file = Path(work.folder) / "work.json"
        work_file.write_text(work.to_json(), encoding="utf-8")
        self._process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", adapter.name, str(work_file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if show_errors else subprocess.DEVNULL,
            text=True,
        )
        try:
            self.facts = self._answer(LOADS)
        except ContenderFailed:
            self.close()
            raise

    def run(self, settle: int, count: int) -> list[float]:
        """Seconds of ``count`` frames after ``settle`` untimed ones."""
        return self._ask(settle + count, settle=settle, count=count)["seconds"]

    def results(self) -> list[list[np.ndarray]]:
        """What every frame gives; also notes the peak memory."""
        path = Path(self._work.folder) / f"{self.adapter.name}.npz"
        self.facts.update(self._ask(self._work.frames, results=str(path)))
        with np.load(path) as found:
            parts = len(found.files) // self._work.frames
            return [[found[f"frame{i}_{part}"] for part in range(parts)] for i in range(self._work.frames)]

    def close(self) -> None:
        """End the process."""
        with contextlib.suppress(BrokenPipeError):  # it has gone, with a request unread
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _ask(self, frames: int, **request) -> dict:
        with contextlib.suppress(OSError):  # it has gone; reading says how
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        return self._answer(A_FRAME * (1 + frames))

    def _answer(self, limit: float) -> dict:
        if not select.select([self._process.stdout], [], [], limit)[0]:
            self._process.kill()
            raise ContenderFailed(f"it hangs: no answer for {limit:g} s; run again with --debug for its messages")
        line = self._process.stdout.readline()
        if not line:
            code = self._process.wait()
            raise ContenderFailed(f"its process ended with {_exit(code)}; run again with --debug for its messages")
        answer = json.loads(line)
        if "error" in answer:
            raise ContenderFailed(answer["error"])
        return answer


def _exit(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
