"""Tuning on Relax, as `tune` asks for it: MetaSchedule over this package's design spaces or its own."""

from __future__ import annotations

from ..targets import available_cores, resolve_target
from . import check as checking
from . import log, means, published, session
from .model import model_tasks
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
        tasks, self._rules = model_tasks(options.model, self.target, options.shapes)
        self.tasks = session.tunable(tasks, self._rules, self.target, options.space)

    def tune(self, peak, on_round):
        """See `session.tune`."""
        given = self._options
        plan = session.Plan(
            self.tasks, self.target, self._rules, given.folder, given.space, given.trials, given.seed
        )  # fmt: skip
        how = self._means
        return session.tune(plan, how.builder, how.runner, peak, on_round, how.require)

    def line(self) -> str:
        """How candidates get their time, in one line for people."""
        return self._means.line()

    def best_seconds(self) -> dict:
        """{workload hash: seconds of its fastest record in the log}."""
        return log.best_seconds(self._options.folder)

    def publish(self, destination, facts: dict) -> int:
        """See `published.publish`."""
        return published.publish(self._options.folder, destination, facts)


def check(path, options, on_record) -> dict:
    """Apply and compile each record of a log; see `check.check`."""
    return checking.check(published.log_folder(path), on_record)


def merge(paths, destination) -> tuple[int, list[str]]:
    """The best records of several logs as one; see `published.merge`."""
    return published.merge([published.log_folder(path) for path in paths], destination)
