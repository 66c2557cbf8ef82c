"""Runs checks one after another in a child process, so that a crash ends a check and not the report."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from typing import Dict, Iterator, Optional, Sequence

from .known_failures import explain
from .privacy import scrub
from .result import FAIL, SKIP, Check, CheckResult, fail, skip

_OUTCOMES = {FAIL: "failed", SKIP: "was skipped"}


def run_checks(checks: Sequence[Check], limit: float = 55.0) -> Iterator[CheckResult]:
    """Run the checks in order and yield each result as it is known.

    One child process runs them all; when it dies or hangs, the check at hand has failed and a new child does the rest.

    Parameters
    ----------
    checks : sequence of Check
    limit : float
        Seconds for all of them; checks that have not begun by then are skipped.
    """
    end = time.monotonic() + limit
    status: Dict[str, str] = {}
    child: Optional[_Child] = None
    try:
        for check in checks:
            begin = time.monotonic()
            missing = [name for name in check.needs if status.get(name) in (FAIL, SKIP)]
            if missing:
                result = skip(f"needs {missing[0]}, which {_OUTCOMES[status[missing[0]]]}")
            elif begin >= end:
                result = skip(f"no time left: the checks before it took {limit:.0f} s")
            else:
                child = child or _Child()
                result = child.run(check, min(check.timeout, end - begin))
                if child.ended:
                    child.close()
                    child = None
            status[check.name] = result.status
            detail, mend, figures = scrub(result.detail), scrub(result.mend), scrub(result.figures)
            seconds = round(time.monotonic() - begin, 3)
            yield replace(result, name=check.name, detail=detail, mend=mend, figures=figures, seconds=seconds)
    finally:
        if child is not None:
            child.close()


class _Child:
    """A worker process. Its standard output and error go to a file, of which a crash's last words are read."""

    def __init__(self):
        self.said = tempfile.TemporaryFile()  # noqa: SIM115 - closed in close()
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"{__package__}.worker", str(writer)],
            stdin=subprocess.PIPE,
            stdout=self.said,
            stderr=self.said,
            pass_fds=(writer,),
            start_new_session=True,  # so that what a hanging check started ends with it
        )
        os.close(writer)
        self.answers = os.fdopen(reader, "rb", buffering=0)
        self.ended = False

    def run(self, check: Check, timeout: float) -> CheckResult:
        start = self.said.seek(0, os.SEEK_END)
        try:
            self.process.stdin.write(json.dumps([check.function, check.arguments]).encode() + b"\n")
            self.process.stdin.flush()
            answer = self._answer(time.monotonic() + timeout)
        except BrokenPipeError:
            answer = b""
        if answer is None:
            self._kill()
            return fail(
                f"did not finish in {timeout:.0f} s and was stopped",
                "run the doctor again on an idle machine; if it hangs again, report this with the line above",
            )
        if not answer.endswith(b"\n"):
            self.ended = True
            code = self.process.wait()
            self.said.seek(start)
            return explain(self.said.read().decode("utf-8", "replace"), code)
        fields = json.loads(answer)
        return explain(fields["raised"], None) if "raised" in fields else CheckResult(**fields)

    def _answer(self, end: float) -> Optional[bytes]:
        """One line; without its newline if the child has ended; None if time has run out."""
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self.answers], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return None
            part = self.answers.read(1 << 16)
            if not part:
                return line
            line += part
        return line

    def _kill(self) -> None:
        self.ended = True
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended with a check unread
            self.process.stdin.close()
        try:
            self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._kill()
            self.process.wait()
        self.answers.close()
        self.said.close()
