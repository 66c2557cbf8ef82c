"""Published tuning logs: finding those that suit a target, publishing, merging and checking."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import tvm
from tvm import s_tir
from tvm.s_tir.meta_schedule.database import TuningRecord, Workload
from tvm.s_tir.meta_schedule.utils import shash2hex

from ..errors import ArtifactError
from . import catalog, log, manifest
from .tasks import as_workload

KEEP = 1  # records of each workload in a published log
CONFIRMED = "confirmed"  # in a run's folder: the log of what was compared inside the network


@dataclass
class Schedules:
    """Measured schedules by workload, for ``ApplySchedules``.

    Attributes
    ----------
    bodies : dict of workload hash to a record as MetaSchedule's JSON
    sources : list of str
        The logs they come from.
    problems : list of str
        What was left out of them, and why.
    hits : dict of workload hash to str
        Kernels that found their record, and the log it is in.
    misses : list of str
        Names of the kernels that have a choice of schedules and found no record.
    """

    bodies: dict = field(default_factory=dict)
    sources: list = field(default_factory=list)
    problems: list = field(default_factory=list)
    hits: dict = field(default_factory=dict)
    misses: list = field(default_factory=list)
    named: bool = False  # by the user, who then wants to know what it was good for
    source_of: dict = field(default_factory=dict)
    predicted: set = field(default_factory=set)  # logs whose times no device gave

    def schedule(self, func):
        """The measured schedule of a kernel, or None."""
        workload = as_workload(func)
        key = shash2hex(workload)
        body = self.bodies.get(key)
        if body is None:
            return None
        sch = s_tir.Schedule(tvm.IRModule({"main": func}))
        try:
            record = TuningRecord.from_json(body, Workload(workload))
            record.trace.apply_to_schedule(sch, remove_postproc=False)
        except Exception as error:
            self.problems.append(f"workload {key}: its record does not apply ({str(error).strip().splitlines()[-1]})")
            return None
        self.hits[key] = self.source_of[key]
        return sch

    def add(self, folder, name: str) -> None:
        """Take a log's best records; an earlier log's record for the same workload stays."""
        found, problems = log.best_bodies(folder)
        self.problems += [f"{name}: {problem}" for problem in problems]
        self.sources.append(name)
        if catalog.is_predicted(folder):
            self.predicted.add(name)
        for key, (_, body) in found.items():
            if self.bodies.setdefault(key, body) is body:
                self.source_of[key] = name

    def missed(self, name: str) -> None:
        """A kernel that could have been tuned has no record here."""
        self.misses.append(name)

    def line(self) -> str:
        """One line for people: what was used and what was not."""
        if not self.hits and not self.named:
            whom = "knows a kernel of this model" if self.sources else "suits this target"
            text = f"no published tuning log {whom}; the schedules' defaults are used"
        else:
            total = len(self.hits) + len(self.misses)
            names = [name + " (predicted)" * (name in self.predicted) for name in self.used()]
            text = f"tuning log {', '.join(names)}: {len(self.hits)} of {total} tunable kernels"
            if self.misses:
                text += "; defaults for " + ", ".join(self.misses)
        return text + "".join(f"; left out: {problem}" for problem in self.problems)

    def used(self) -> list:
        """The logs that gave a schedule; the user's own in any case."""
        return self.sources if self.named else [name for name in self.sources if name in self.hits.values()]

    def to_dict(self) -> dict:
        """For reports and artifacts."""
        return {"sources": self.used(), "hits": len(self.hits), "misses": self.misses, "problems": self.problems}


def published_for(target) -> Schedules:
    """The records of every published log that is valid on a target, in ``catalog.suitable``'s order."""
    found, problems = catalog.suitable(target, manifest.METASCHEDULE)
    schedules = Schedules(problems=problems)
    for folder in found:
        schedules.add(folder, catalog.name_of(folder))
    return schedules


def from_folder(path, target) -> Schedules:
    """The records of one log that the user names: a folder, or a file in it.

    Raises
    ------
    ArtifactError
        If there is no log.
    """
    folder = log_folder(path)
    if (folder / CONFIRMED / log.RECORDS).exists():
        folder = folder / CONFIRMED
    schedules = Schedules(problems=catalog.mismatch(folder, target), named=True)
    schedules.add(folder, Path(path).name)
    return schedules


def log_folder(path) -> Path:
    """The folder of a log that was named by itself or by a file in it.

    Raises
    ------
    ArtifactError
        If there is no log.
    """
    return catalog.log_folder(path, log.RECORDS, f"{log.WORKLOADS} and {log.RECORDS}")


def publish(folder, destination, facts: dict) -> int:
    """Write the best records of the manifest's workloads, deduplicated, with the manifest; how many.

    A run's folder may hold others too, of kernels that the model had before.
    """
    workloads = {workload["hash"] for workload in facts["workloads"]}
    records = [r for r in log.best(log.read(folder).records, KEEP) if shash2hex(r.workload.mod) in workloads]
    if not records:
        raise ArtifactError(f"{folder} holds no record of a candidate that ran; nothing to publish")
    log.write(destination, records, packed=True)
    manifest.write(destination, facts)
    return len(records)


def merge(sources, destination) -> tuple[int, list[str]]:
    """The best records of several logs as one; how many, and what was left out."""
    records, problems = [], []
    for source in sources:
        found = log.read(source)
        if not found.records:
            raise ArtifactError(f"{source} holds no valid record; give folders with {log.RECORDS}")
        records += found.records
        problems += [f"{source}: {problem}" for problem in found.problems]
    kept = log.best(records)
    log.write(destination, kept)
    return len(kept), problems
