"""Logs of one JSON record a line, as AutoTVM and Ansor write them: read as far as they are valid, replaced as a whole.

TVM's own readers stop at the first line that they cannot read; a run that was killed leaves such a line. Here every
line is checked by itself, without making TVM objects of it.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

from ..catalog import REJECTED
from ..times import median

INFINITE = float("inf")


@dataclass(frozen=True)
class Record:
    """One measured candidate.

    Attributes
    ----------
    hash : str
        Of its workload.
    times : tuple of float
        Seconds of its repeats; empty if it failed.
    line : str
        As the tuner wrote it.
    """

    hash: str
    times: tuple
    line: str

    @property
    def seconds(self) -> float:
        """The median of the repeats; infinite if it failed."""
        return median(self.times) if self.times else INFINITE


@dataclass
class Records:
    """The valid lines of a log, and one line of text for each that is not."""

    records: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    rejected: list = field(default_factory=list)


def read(path, parse: Callable[[str], Record]) -> Records:
    """Read a log; a missing one is empty.

    Parameters
    ----------
    path : path
    parse : callable
        A line to a `Record`; raises ValueError, TypeError, KeyError or IndexError for one that is none.
    """
    path, found = Path(path), Records()
    text = path.read_bytes().decode("utf-8", errors="replace") if path.exists() else ""
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            if not line.isprintable():
                raise ValueError("it has characters that no log has")
            found.records.append(parse(line))
        except (ValueError, TypeError, KeyError, IndexError) as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[-1][:200]
            found.problems.append(f"{path.name} line {number}: {reason}")
            found.rejected.append(line)
    return found


def repair(path, parse) -> list[str]:
    """Set invalid lines aside (``rejected_lines.txt`` beside the log) and keep the rest; the problems found."""
    path = Path(path)
    found = read(path, parse)
    if found.problems:
        with open(path.with_name(REJECTED), "a", encoding="utf-8") as file:
            for problem, line in zip(found.problems, found.rejected):
                file.write(f"{problem}\n{line}\n")
        write(path, found.records)
    return found.problems


def append(path, lines) -> None:
    """Add a round's lines in one write."""
    with open(path, "a", encoding="utf-8") as file:
        file.write("".join(line.rstrip("\n") + "\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())


def write(path, records) -> None:
    """Replace a log in one step."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write("".join(record.line + "\n" for record in records))
    os.chmod(fresh, 0o644)
    os.replace(fresh, path)


def best(records) -> list[Record]:
    """The fastest record of each workload that has one."""
    found = {}
    for record in records:
        if record.seconds < min(INFINITE, found[record.hash].seconds if record.hash in found else INFINITE):
            found[record.hash] = record
    return list(found.values())
