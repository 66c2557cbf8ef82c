"""Tuning on Relax, as `tune` asks for it: MetaSchedule over this package's design spaces or its own."""

from __future__ import annotations

from ..targets import available_cores, resolve_target
from . import check as checking
from . import log, means, published, session
from .confirm import confirm
from .model import Unscheduled
from .run import Options


class Run:
    """One run; made ready before anything is measured.

    Attributes
    ----------
    target : tvm.target.Target
    tasks : list of Task
        Heaviest first.
    measured, device : str
        For the manifest: how candidates get their time, and from what.
    """

    def __init__(self, options: Options):
        self._options = options
        self.target = resolve_target(options.target)
        host, port, key = options.rpc or (None, None, None)
        self._means = means.means_for(
            self.target,
            rpc=(host, port) if options.rpc else None,
            key=key,
            choice=options.measure,
            threads=options.threads,
            workers=available_cores(),
            intrinsics=options.space == "generic" or self.target.kind.name == "cuda",
        )
        self.measured, self.device = self._means.measured, self._means.device
        self._unscheduled = Unscheduled(options.model, self.target, options.shapes, options.precision)
        self._rules = self._unscheduled.rules
        self.tasks = session.tunable(self._unscheduled.tasks(), self._rules, self.target, options.space)
        self._log = options.folder  # what is published: its fastest records, or those that were confirmed

    def tune(self, peak, on_round):
        """See `session.tune`."""
        given = self._options
        plan = session.Plan(
            self.tasks, self.target, self._rules, given.folder, given.space, given.trials, given.seed
        )  # fmt: skip
        how = self._means
        return session.tune(plan, how.builder, how.runner, peak, on_round, how.require)

    def confirm(self, progress):
        """Compare the fastest candidates with the defaults inside the network; see `confirm.confirm`.

        Returns
        -------
        Confirmation or None
            None where that cannot be: kernels of a GPU or of another machine, another search space, no finalists.
        """
        given = self._options
        here = self.target.kind.name == "llvm" and self.measured == "local"
        if not here or given.space != "design" or not given.finalists:
            return None
        records = log.read(given.folder).records
        found = confirm(self._unscheduled, self.tasks, records, self.target, given.finalists, given.seed, progress)
        self._log = given.folder / published.CONFIRMED
        log.write(self._log, found.records(self.target))
        return found

    def line(self) -> str:
        """How candidates get their time, in one line for people."""
        return self._means.line()

    def best_seconds(self) -> dict:
        """{workload hash: seconds of its fastest record in the log}."""
        return log.best_seconds(self._log)

    def publish(self, destination, facts: dict) -> int:
        """See `published.publish`."""
        return published.publish(self._log, destination, facts)


def check(path, options, on_record) -> dict:
    """Apply and compile each record of a log; see `check.check`."""
    return checking.check(published.log_folder(path), on_record)


def merge(paths, destination) -> tuple[int, list[str]]:
    """The best records of several logs as one; see `published.merge`."""
    return published.merge([published.log_folder(path) for path in paths], destination)
