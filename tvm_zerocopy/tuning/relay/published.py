"""Published logs for a Relay build: finding those that suit a target, and compiling under them."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from .. import catalog
from .run import tuner_with, without_downloads, without_warnings
from .tuner import Tuner
from .tuners import NAMES, tuner_of


@dataclass
class Tuned:
    """The logs of one tuner, for ``relay.build``.

    Attributes
    ----------
    tuner : Tuner or None
        None: no log.
    folders : list of path
    sources : list of str
        Their names.
    problems : list of str
        What was left out, and why.
    """

    tuner: Tuner | None = None
    folders: list = field(default_factory=list)
    sources: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    hits: int = 0
    misses: int = 0

    @contextlib.contextmanager
    def applied(self):
        """Inside (enter it inside the PassContext), ``relay.build`` takes the logs' records."""
        with without_downloads(), without_warnings():
            if self.tuner is None:
                yield
                return
            with self.tuner.applied(self.folders) as applied:
                yield
            self.hits, self.misses = len(applied.hits), len(applied.misses)

    def line(self) -> str:
        """One line for people: what was used and what was not."""
        if self.tuner is None:
            return "no published tuning log suits this target; TVM's own schedules are used"
        text = f"{self.tuner.name} log {', '.join(self.sources)}: {self.hits} of {self.hits + self.misses} kernels"
        return text + "".join(f"; left out: {problem}" for problem in self.problems)

    def to_dict(self) -> dict:
        """For reports and artifacts."""
        return {"sources": self.sources, "hits": self.hits, "misses": self.misses, "problems": self.problems}


def published_for(target) -> Tuned:
    """The first tuner's logs that are published for a target; of AutoTVM, Ansor and MetaSchedule, in this order."""
    problems = []
    for name in NAMES:
        found, problems = catalog.suitable(target, name)
        found = [folder for folder in found if (folder / tuner_of(name).log).exists()]
        if found:
            return Tuned(tuner_of(name), found, [catalog.name_of(folder) for folder in found], problems)
    return Tuned(problems=problems)


def from_folder(path, target) -> Tuned:
    """One log that the user names: a folder, or the file in it.

    Raises
    ------
    ArtifactError
        If there is no log.
    """
    tuner, folder = tuner_with(path)
    found = tuner.read(folder)
    return Tuned(tuner, [folder], [folder.name], [*catalog.mismatch(folder, target), *found.problems])
