"""What a tuner of a Relay build is to a run: it extracts tasks, searches them, and knows its own records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .. import catalog
from . import records

BUILD_TIMEOUT = 60  # seconds for one candidate
RUN_TIMEOUT = 30
REPEAT = 10  # runs of a candidate; caches are flushed before each, the median counts


@dataclass(frozen=True)
class Measuring:
    """Where and how candidates are timed.

    Attributes
    ----------
    threads : int
        Of kernels on this machine.
    builders : int
        Candidates that are compiled side by side.
    rpc : (str, int, str) or None
        Host, port and key at a TVM RPC tracker; None: this machine.
    repeat : int
    """

    threads: int
    builders: int
    rpc: tuple | None = None
    repeat: int = REPEAT


class Tuner:
    """
    Attributes
    ----------
    name : str
        As in ``--tuner`` and in manifests.
    log : str
        Name of the file with the records.
    """

    name = log = ""

    def extract(self, mod, target) -> list:
        """The `RelayTask` of each distinct kernel of ``main``, the heaviest first."""
        raise NotImplementedError

    def searches(self, tasks, target, folder: Path, measuring: Measuring, seed: int) -> list:
        """A `rounds.Search` for each task, told what earlier runs measured."""
        raise NotImplementedError

    def parse(self, line: str) -> records.Record:
        """One line of the log; see `records.read`."""
        raise NotImplementedError

    def applied(self, paths):
        """A context manager in which ``relay.build`` takes the best records of the logs.

        Its value has ``hits`` and ``misses``: workloads that found a record, and that did not.
        """
        raise NotImplementedError

    def read(self, folder) -> records.Records:
        """The log in a folder."""
        return records.read(Path(folder) / self.log, self.parse)

    def repair(self, folder) -> list[str]:
        """Make an earlier run's log readable; the problems of the lines that were set aside."""
        return records.repair(Path(folder) / self.log, self.parse)

    def write_best(self, folders, destination, packed: bool = False) -> tuple[int, list[str]]:
        """The fastest record of each workload of several logs as one log; how many, and what was left out.

        Nothing is written if there is none. ``packed``: as published logs are.
        """
        found = [self.read(folder) for folder in folders]
        kept = records.best([record for each in found for record in each.records])
        if kept:
            records.write(Path(destination) / self.log, kept)
        return len(kept), [problem for each in found for problem in each.problems]

    def log_folder(self, path) -> Path:
        """The folder of a log that was named by itself or by its file; raises ArtifactError if there is none."""
        return catalog.log_folder(path, self.log, self.log)


def most_first(tasks) -> list:
    """Tasks by their share of a frame's arithmetic."""
    return sorted(tasks, key=lambda task: -task.flop * task.weight)
