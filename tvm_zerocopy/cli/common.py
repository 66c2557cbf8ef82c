"""What several commands share: argument types, output that scripts read, and progress that people see."""

import argparse
import contextlib
import json
import sys
import time
from typing import Iterator, Tuple

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from ..errors import SourceError

SLOW = 2.0  # seconds of work before a progress bar appears


def size(text: str) -> Tuple[int, int]:
    """``1920x1080`` -> (1920, 1080): width and height, both at least 1."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write WIDTHxHEIGHT, for example 1920x1080")
    return int(parts[0]), int(parts[1])


def shape(text: str) -> Tuple[int, ...]:
    """``1,3,640,640`` -> (1, 3, 640, 640)."""
    parts = text.split(",")
    if not all(part.strip().isdecimal() and int(part) > 0 for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is not a shape; write for example 1,3,640,640")
    return tuple(map(int, parts))


def whole_number(text: str) -> int:
    """An integer of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 1")
    return value


def human_console(json_target) -> Console:
    """Where people read: standard output, or standard error while standard output is for machines."""
    return Console(stderr=json_target == "-", highlight=False)


def print_error(message) -> None:
    """The one line that a failure prints."""
    sys.stdout.flush()
    print("error: " + " ".join(str(message).split()), file=sys.stderr)


def warn(message: str) -> None:
    print("warning: " + " ".join(message.split()), file=sys.stderr)


@contextlib.contextmanager
def json_lines(target) -> Iterator:
    """A function that writes one object as one line to a file or to standard output ("-"); does nothing if None."""
    if target is None:
        yield lambda value: None
        return
    if target == "-":
        yield lambda value: print(json.dumps(value), flush=True)
        return
    try:
        file = open(target, "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise SourceError(f"--json {target}: {error.strerror or error}; give a file that can be written") from None
    with file:
        yield lambda value: file.write(json.dumps(value) + "\n")


class Steps:
    """A progress bar on standard error that appears once the work has taken ``SLOW`` seconds, on a terminal only."""

    def __init__(self, title: str, total=None):
        self._title, self._total = title, total
        self._console = Console(stderr=True)
        self._begin = time.monotonic()
        self._bar = None
        self._done = 0

    def __enter__(self):
        return self

    def advance(self, text: str = "", done=None, total=None) -> None:
        """One step more (or ``done`` in all, of ``total``); ``text`` says what is going on."""
        self._done = self._done + 1 if done is None else done
        self._total = total or self._total
        if self._bar is None and self._console.is_terminal and time.monotonic() - self._begin > SLOW:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[text]}"))
            self._bar = Progress(*columns, TimeElapsedColumn(), console=self._console, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._title, total=self._total, text=text)
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, total=self._total, text=text)

    def __exit__(self, *_):
        if self._bar is not None:
            self._bar.stop()
