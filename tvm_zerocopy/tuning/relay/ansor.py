"""Ansor (``auto_scheduler``): sketches of fused subgraphs, searched by its evolutionary policy and cost model."""

from __future__ import annotations

import json
from pathlib import Path

import tvm
from tvm import auto_scheduler
from tvm.auto_scheduler.dispatcher import ApplyHistoryBest

from ..rounds import Search
from . import records
from .tasks import RelayTask
from .tuner import BUILD_TIMEOUT, RUN_TIMEOUT, Measuring, Tuner, most_first

# Limits of GPUs that are not here to be asked; CUDA C++ programming guide, technical specifications by compute
# capability. sm_72: Jetson AGX Xavier.
GPU_LIMITS = {
    "max_threads_per_block": 1024,
    "max_shared_memory_per_block": 49152,
    "max_local_memory_per_block": 2**31 - 1,
    "max_vthread_extent": 8,
    "warp_size": 32,
}


# Ansor's own population of 2048 takes minutes a round on two cores, far more than measuring 16 candidates does.
SEARCH_OPTIONS = {
    "evolutionary_search_population": 256,
    "evolutionary_search_num_iters": 3,
    "sample_init_min_population": 32,
}


class Ansor(Tuner):
    """See `Tuner`.

    Parameters
    ----------
    search_options : dict
        ``SketchPolicy``'s parameters, where they differ from its own.
    """

    name, log = "ansor", "ansor.log"

    def __init__(self, search_options=None):
        self._options = SEARCH_OPTIONS if search_options is None else search_options

    def extract(self, mod, target):
        natives, weights = auto_scheduler.extract_tasks(mod, {}, target, hardware_params=hardware(target))
        found = {}
        for native, weight in zip(natives, weights):
            name = native.desc.split(",")[0].replace("vm_mod_fused_", "").replace("tvmgen_default_fused_", "")
            flop = float(native.compute_dag.flop_ct)
            task = found.setdefault(native.workload_key, RelayTask(name, native.workload_key, 0, flop, native))
            task.weight += int(weight)
        return most_first(found.values())

    def searches(self, tasks, target, folder, measuring, seed):
        path = Path(folder) / self.log
        model = auto_scheduler.XGBModel(seed=seed)
        known = {record.hash for record in self.read(folder).records}
        if known & {task.hash for task in tasks}:
            model.update_from_file(str(path))
        measurer = auto_scheduler.measure.ProgramMeasurer(
            auto_scheduler.LocalBuilder(timeout=BUILD_TIMEOUT, n_parallel=measuring.builders),
            _runner(measuring),
            [auto_scheduler.RecordToFile(str(path))],
            0,
        )
        return [
            AnsorSearch(task, model, measurer, path if task.hash in known else None, seed + index, self._options)
            for index, task in enumerate(tasks)
        ]

    def parse(self, line):
        entry = json.loads(line)
        task, state = entry["i"][:2]
        costs, error, *_ = entry["r"]
        if not isinstance(state[1], list) or not json.loads(task[0]):
            raise ValueError("it has no workload or no steps")
        return records.Record(task[0], () if error else tuple(map(float, costs)), line)

    def applied(self, paths):
        return AppliedLogs([str(Path(path) / self.log) for path in paths])


class AnsorSearch(Search):
    """One task's sketch policy, driven round by round; Ansor picks and measures in one step.

    Parameters
    ----------
    task : RelayTask
    model : CostModel
        Of all tasks.
    measurer : ProgramMeasurer
        Appends what it measures to the log.
    history : path or None
        A log with records of this task.
    """

    def __init__(self, task, model, measurer, history, seed, options):
        self._task, self._model, self._measurer = task, model, measurer
        self._history, self._seed, self._options = history, seed, options
        self._policy = None

    def candidates(self, planned, count):
        if self._policy is None:
            preload = [auto_scheduler.PreloadMeasuredStates(str(self._history))] if self._history else None
            self._policy = auto_scheduler.SketchPolicy(
                self._task.native,
                self._model,
                params=self._options or None,
                seed=self._seed,
                verbose=0,
                init_search_callbacks=preload,
            )
        inputs, results = self._policy.continue_search_one_round(count, self._measurer)
        return list(results)

    def measure(self, candidates):
        times = [records.median(result.costs) for result in candidates if int(result.error_no) == 0]
        return times, [_message(result) for result in candidates if int(result.error_no) != 0]

    def close(self):
        self._policy = None


class AppliedLogs(ApplyHistoryBest):
    """``auto_scheduler.ApplyHistoryBest`` and the pass configuration that makes ``relay.build`` ask it.

    It counts what it was asked, and is silent about what it does not know.
    """

    def __init__(self, paths):
        super().__init__(paths or None)
        self.hits, self.misses = set(), set()

    def __enter__(self):
        self._root = auto_scheduler.dispatcher.DispatchContext.current
        self._verbose = getattr(self._root, "verbose", None)
        if self._verbose is not None:
            self._root.verbose = 0
        context = tvm.transform.PassContext.current()
        self._inner = tvm.transform.PassContext(
            opt_level=context.opt_level,
            required_pass=list(context.required_pass),
            disabled_pass=list(context.disabled_pass),
            config={**dict(context.config), "relay.backend.use_auto_scheduler": True},
        )
        self._inner.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._inner.__exit__(*error)
        if self._verbose is not None:
            self._root.verbose = self._verbose

    def query(self, target, workload_key, has_complex_op, dag, func_name):
        found = self._query_inside(target, workload_key, func_name)
        if has_complex_op:  # simple ones are not tuned
            (self.misses if found is None else self.hits).add(workload_key)
        return found if found is not None else super().query(target, workload_key, has_complex_op, dag, func_name)


def hardware(target):
    """Ansor's description of a GPU; None for CPUs, which it describes by itself."""
    if target.kind.name != "cuda":
        return None
    return auto_scheduler.HardwareParams(num_cores=-1, vector_unit_bytes=16, cache_line_bytes=64, **GPU_LIMITS)


def _runner(measuring: Measuring):
    options = {"timeout": RUN_TIMEOUT, "number": 1, "repeat": measuring.repeat, "min_repeat_ms": 0}
    options["enable_cpu_cache_flush"] = measuring.rpc is None
    if measuring.rpc is None:
        return auto_scheduler.LocalRunner(**options)
    host, port, key = measuring.rpc
    return auto_scheduler.RPCRunner(key, host, port, **options)


def _message(result) -> str:
    lines = [line for line in str(result.error_msg).strip().splitlines() if line.strip()]
    return lines[-1].strip() if lines else f"error {int(result.error_no)}"
