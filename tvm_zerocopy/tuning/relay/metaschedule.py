"""MetaSchedule of TVM builds with Relay: its generic search over the fused subgraphs that Relay lowers to TIR."""

from __future__ import annotations

import contextlib
import importlib
import logging

import tvm

from .. import catalog, log
from ..meta_schedule import ms
from ..ms_search import MetaScheduleSearch, cost_model
from ..times import median
from . import records
from .tasks import RelayTask
from .tuner import BUILD_TIMEOUT, RUN_TIMEOUT, Measuring, Tuner, most_first

INTRINSICS = ("x86", "arm_cpu", "cuda")  # modules of tvm.tir.tensor_intrin; some builds do not import them


class MetaSchedule(Tuner):
    """See `Tuner`. Its log is a folder with MetaSchedule's two files.

    Parameters
    ----------
    strategy : callable or None
        Makes a task's search strategy; None: MetaSchedule's evolutionary search.
    """

    name, log = "metaschedule", log.RECORDS

    def __init__(self, strategy=None):
        self._strategy = strategy or (lambda: "evolutionary")

    def extract(self, mod, target):
        _import_intrinsics()
        _quiet()
        found = {}
        for native in ms.relay_integration.extract_tasks(mod, target, {}):
            workload = native.dispatched[0]
            key = ms.utils.shash2hex(workload)
            name = native.task_name.replace("fused_", "", 1)
            flop = float(tvm.tir.analysis.estimate_tir_flops(workload))
            task = found.setdefault(key, RelayTask(name, key, 0, flop, workload))
            task.weight += int(native.weight)
        return most_first(task for task in found.values() if task.flop)

    def searches(self, tasks, target, folder, measuring, seed):
        database = log.open_database(folder)
        model = cost_model("xgb")
        builder = ms.builder.LocalBuilder(max_workers=measuring.builders, timeout_sec=BUILD_TIMEOUT)
        runner = _runner(measuring)
        return [
            MetaScheduleSearch(self._context(task, target, seed + index), database, model, builder, runner)
            for index, task in enumerate(tasks)
        ]

    def _context(self, task, target, seed):
        return ms.TuneContext(
            mod=task.native,
            target=target,
            space_generator="post-order-apply",
            search_strategy=self._strategy(),
            task_name=task.name,
            rand_state=seed * 1000 + 1,
            num_threads=1,
            logger=_quiet(),
        ).clone()

    def applied(self, paths):
        return AppliedLogs(paths)

    def read(self, folder):
        found = log.read(folder)
        return records.Records([_record(record) for record in found.records], found.problems)

    def repair(self, folder):
        return log.repair(folder)

    def write_best(self, folders, destination, packed=False):
        kept, problems = [], []
        for folder in folders:
            found = log.read(folder)
            kept += found.records
            problems += found.problems
        kept = log.best(kept)
        if kept:
            log.write(destination, kept, packed=packed)
        return len(kept), problems

    def log_folder(self, path):
        return catalog.log_folder(path, log.RECORDS, f"{log.WORKLOADS} and {log.RECORDS}")


class AppliedLogs(contextlib.ExitStack):
    """The logs as MetaSchedule's database, and the pass configuration that makes ``relay.build`` ask it.

    ``hits`` are the workloads in the logs: the build asks the database itself, where nobody can count.
    """

    def __init__(self, paths):
        super().__init__()
        kept = log.best([record for path in paths for record in log.read(path).records])
        self._database = log.Log(kept).database()
        self.hits = {ms.utils.shash2hex(record.workload.mod) for record in kept}
        self.misses = set()

    def __enter__(self):
        _import_intrinsics()
        super().__enter__()
        context = tvm.transform.PassContext.current()
        enabled = {"relay.backend.use_meta_schedule": True, "relay.backend.use_meta_schedule_dispatch": True}
        self.enter_context(self._database)
        self.enter_context(
            tvm.transform.PassContext(
                opt_level=context.opt_level,
                required_pass=list(context.required_pass),
                disabled_pass=list(context.disabled_pass),
                config={**dict(context.config), **enabled},
            )
        )
        return self


def _record(record) -> records.Record:
    times = tuple(float(t) for t in record.run_secs or ())
    ran = median(times) < float("inf")
    return records.Record(ms.utils.shash2hex(record.workload.mod), times if ran else (), "")


def _runner(measuring: Measuring):
    config = ms.runner.EvaluatorConfig(
        number=1, repeat=measuring.repeat, min_repeat_ms=0, enable_cpu_cache_flush=measuring.rpc is None
    )
    if measuring.rpc is None:
        return ms.runner.LocalRunner(timeout_sec=RUN_TIMEOUT, evaluator_config=config)
    host, port, key = measuring.rpc
    rpc = ms.runner.RPCConfig(host, port, key, session_priority=1, session_timeout_sec=RUN_TIMEOUT)
    return ms.runner.RPCRunner(rpc_config=rpc, evaluator_config=config)


def _import_intrinsics() -> None:
    for name in INTRINSICS:
        with contextlib.suppress(ImportError):
            importlib.import_module(f"tvm.tir.tensor_intrin.{name}")


def _quiet() -> logging.Logger:
    """MetaSchedule reports to our views; its own tables and training curves stay out of the terminal."""
    root = logging.getLogger("tvm.meta_schedule")
    root.setLevel(logging.ERROR)
    root.propagate = False
    return root
