"""Tuning on Relay, as `tune` asks for it: AutoTVM, Ansor or MetaSchedule."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import tvm
from tvm import autotvm

from ...errors import ArtifactError, UnsupportedError
from ...targets import available_cores, resolve_target
from .. import host, manifest
from ..run import Options
from ..tracker import require_tracker
from . import session, tasks
from .tuner import Measuring, Tuner
from .tuners import NAMES, tuner_of

TOPHUB = "TOPHUB_LOCATION"


class Run:
    """One run; made ready before anything is measured.

    Attributes
    ----------
    target : tvm.target.Target
    tasks : list of RelayTask
        Heaviest first. They are extracted for targets that this build cannot compile for, too.
    measured, device : str
        For the manifest: how candidates get their time, and from what.
    """

    def __init__(self, options: Options):
        if options.measure not in (None, "local"):
            raise UnsupportedError(f"--measure {options.measure} needs a TVM with Relax; Relay's tuners measure")
        if options.precision != "float32":
            raise UnsupportedError(
                f"--precision {options.precision} needs a TVM with Relax; Relay's kernels are float32"
            )
        host.require_compiler()
        self._options = options
        self.measured = "rpc" if options.rpc else "local"
        self.device = options.rpc[2] if options.rpc else host.cpu_name()
        self._tuner = tuner_of(options.tuner)
        self.target = resolve_target(options.target, code=False)
        with without_downloads():
            module = tasks.model_module(options.model, self.target, options.shapes)
            self.tasks = self._tuner.extract(module, self.target)

    def line(self) -> str:
        """How candidates get their time, in one line for people."""
        return f"measured {'through RPC ' if self._options.rpc else ''}on {self.device}"

    def tune(self, peak, on_round):
        """See `session.tune`."""
        given = self._options
        if given.trials is None:
            raise UnsupportedError(f"{given.tuner} has no end of its own; give --trials N")
        resolve_target(given.target)  # says which code generator is missing
        if given.rpc:
            require_tracker(*given.rpc)
        os.environ["TVM_NUM_THREADS"] = str(given.threads)  # of the processes that time candidates
        measuring = Measuring(given.threads, available_cores(), given.rpc)
        plan = session.Plan(
            self._tuner, self.tasks, self.target, Path(given.folder), given.trials, measuring, given.seed
        )  # fmt: skip
        with without_downloads():
            return session.tune(plan, peak, on_round)

    def confirm(self, progress):
        """None: Relay's kernels are not compared inside the network."""
        return None

    def best_seconds(self) -> dict:
        """{workload hash: seconds of its fastest record in the log}."""
        found = {}
        for record in self._tuner.read(self._options.folder).records:
            found[record.hash] = min(record.seconds, found.get(record.hash, float("inf")))
        return {key: seconds for key, seconds in found.items() if seconds < float("inf")}

    def publish(self, destination, facts: dict) -> int:
        """Write the best records of the run's log with their manifest; how many."""
        folder = self._options.folder
        count, _ = self._tuner.write_best([folder], destination, packed=True)
        if not count:
            raise ArtifactError(f"{folder} holds no record of a candidate that ran; nothing to publish")
        manifest.write(destination, facts)
        return count


def check(path, options, on_record) -> dict:
    """Hold a log against its model: which records still fit a workload of it and compile with this TVM.

    Returns
    -------
    dict
        As `tuning.check.check` does; ``compiled`` counts the records that ``relay.build`` of the model took.
    """
    tuner, folder = tuner_with(path)
    found = tuner.read(folder)
    workloads = {record.hash for record in found.records}
    result = {"records": len(found.records), "workloads": len(workloads), "problems": list(found.problems)}
    if options is None or options.model is None:
        raise UnsupportedError(f"a log of {tuner.name} is checked against its model: tune MODEL.onnx --check {path}")
    with without_downloads(), without_warnings():
        target = resolve_target(options.target)
        module = tasks.model_module(options.model, target, options.shapes)
        on_record(0, 1)
        try:
            with tvm.transform.PassContext(opt_level=3), tuner.applied([folder]) as applied:
                tvm.relay.build(module, target)
        except tvm.error.TVMError as error:
            reason = (str(error).strip().splitlines() or ["no reason given"])[-1]
            return {**result, "applied": 0, "compiled": 0, "problems": [*result["problems"], reason]}
        on_record(1, 1)
    unused = workloads - applied.hits
    result["problems"] += [f"workload {key} is not in {Path(options.model).name}" for key in sorted(unused)]
    hits = sum(record.hash in applied.hits for record in found.records)
    return {**result, "applied": hits, "compiled": hits}


def merge(paths, destination) -> tuple[int, list[str]]:
    """The best records of several logs of one tuner as one; how many, and what was left out.

    Raises
    ------
    ArtifactError
        If one is no log, is another tuner's, or holds no valid record.
    """
    logs = [tuner_with(path) for path in paths]
    tuner = logs[0][0]
    for (other, _), path in zip(logs, paths):
        if other.name != tuner.name:
            raise ArtifactError(f"{path} is a log of {other.name}, {paths[0]} one of {tuner.name}; merge one tuner's")
    for (other, folder), path in zip(logs, paths):
        if not other.read(folder).records:
            raise ArtifactError(f"{path} holds no valid record")
    return tuner.write_best([folder for _, folder in logs], destination)


def tuner_with(path):
    """(tuner, folder) of a log."""
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    for name in NAMES:
        tuner: Tuner = tuner_of(name)
        if (folder / tuner.log).exists():
            return tuner, tuner.log_folder(path)
    names = ", ".join(tuner_of(name).log for name in NAMES)
    raise ArtifactError(f"{path} is not a tuning log; give a folder with one of {names}")


@contextlib.contextmanager
def without_downloads():
    """Inside, TVM does not look for schedules of its own on the network (TopHub)."""
    was = os.environ.get(TOPHUB)
    os.environ[TOPHUB] = "NONE"
    try:
        yield
    finally:
        if was is None:
            del os.environ[TOPHUB]
        else:
            os.environ[TOPHUB] = was


@contextlib.contextmanager
def without_warnings():
    """Inside, AutoTVM does not warn of each operator that no record is for: what was used is one line of ours."""
    was, autotvm.GLOBAL_SCOPE.silent = autotvm.GLOBAL_SCOPE.silent, True
    try:
        yield
    finally:
        autotvm.GLOBAL_SCOPE.silent = was
