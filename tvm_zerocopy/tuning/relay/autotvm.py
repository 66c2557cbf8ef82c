"""AutoTVM: templates of single operators, searched by its XGBoost tuner."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import tvm
from tvm import autotvm, relay
from tvm.autotvm.measure import MeasureInput
from tvm.autotvm.task.dispatcher import ApplyHistoryBest
from tvm.contrib import cc
from tvm.target.x86 import get_simd_32bit_lanes

from ..rounds import Search
from . import records
from .local_runner import LocalRunner
from .tasks import RelayTask
from .tuner import BUILD_TIMEOUT, RUN_TIMEOUT, Measuring, Tuner, most_first

PLAN = 32  # measurements after which the tuner fits its cost model again
# Relay operators that have AutoTVM templates on CPUs or GPUs.
OPERATORS = ("nn.conv1d", "nn.conv2d", "nn.conv2d_transpose", "nn.conv3d", "nn.dense", "nn.batch_matmul")


class AutoTvm(Tuner):
    """See `Tuner`."""

    name, log = "autotvm", "autotvm.log"

    def extract(self, mod, target):
        """Each distinct call of a tunable operator, extracted by itself.

        AutoTVM's extraction from a whole program does not say how often a task runs.
        """
        calls = {}

        def note(expr):
            if isinstance(expr, relay.Call) and getattr(expr.op, "name", "") in OPERATORS:
                key = (expr.op.name, str(expr.attrs), *(str(arg.checked_type) for arg in expr.args))
                calls.setdefault(key, []).append(expr)

        relay.analysis.post_order_visit(relay.transform.InferType()(mod)["main"], note)
        found = {}
        for same in calls.values():
            for native in _tasks_of(same[0], target):
                key = workload_hash(native.name, native.args)
                points = _keep_blocks(native, target)
                task = found.setdefault(key, RelayTask(_title(native), key, 0, float(native.flop), native, points))
                task.weight += len(same)
        return most_first(found.values())

    def searches(self, tasks, target, folder, measuring, seed):
        random.seed(seed)  # of AutoTVM's random candidates and its simulated annealing
        np.random.seed(seed)
        path, builder = Path(folder) / self.log, _builder(measuring)
        runner = _runner(measuring)
        history = {}
        for record in self.read(folder).records:
            history.setdefault(record.hash, []).append(record.line)
        return [AutoTvmSearch(task, target, path, builder, runner, history.get(task.hash, ())) for task in tasks]

    def parse(self, line):
        entry = json.loads(line)
        _, name, arguments, _ = entry["input"]
        costs, error, *_ = entry["result"]
        if not isinstance(entry["config"]["entity"], list):
            raise ValueError("it has no configuration")
        return records.Record(workload_hash(name, arguments), () if error else tuple(map(float, costs)), line)

    def applied(self, paths):
        return AppliedLogs([str(Path(path) / self.log) for path in paths])


class AutoTvmSearch(Search):
    """One task's XGBoost tuner (cost model over the template's knobs), driven round by round.

    Parameters
    ----------
    task : RelayTask
    target : tvm.target.Target
    path : path
        The log, to which each round is appended.
    builder, runner
        AutoTVM's, or ones like them.
    history : sequence of str
        The task's lines of earlier runs.
    """

    def __init__(self, task, target, path, builder, runner, history):
        self._task, self._target, self._path = task, target, path
        self._builder, self._runner, self._history = builder, runner, history
        self._tuner = self._devices = None

    def candidates(self, planned, count):
        if self._tuner is None:
            self._begin()
        return self._tuner.next_batch(count) if self._tuner.has_next() else []

    def _begin(self):
        native = self._task.native
        self._tuner = autotvm.tuner.XGBTuner(native, plan_size=PLAN, feature_type="knob", loss_type="rank-binary")
        known = [autotvm.record.decode(line) for line in self._history]
        space = native.config_space
        known = [(entry, result) for entry, result in known if space.is_index_valid(entry.config.index)]
        if known:
            inputs, results = zip(*known)
            self._learn([entry._replace(task=native) for entry in inputs], results)
        self._devices = self._runner.set_task(native)  # an RPC runner's; lives as long as it is referred to
        self._builder.set_task(native, self._runner.get_build_kwargs())

    def measure(self, candidates):
        self._builder.set_task(self._task.native, self._runner.get_build_kwargs())
        inputs = [MeasureInput(self._target, self._task.native, config) for config in candidates]
        results = self._runner.run(inputs, self._builder.build(inputs))
        lines = [autotvm.record.encode(*pair) for pair in zip(inputs, results)]
        records.append(self._path, lines)
        self._learn(inputs, results)
        times = [records.median(result.costs) for result in results if result.error_no == 0]
        return times, [_message(result) for result in results if result.error_no != 0]

    def _learn(self, inputs, results):
        self._tuner.update(inputs, results)
        # Each model has processes of its own, and starts them again when it is fitted; tens of tasks would keep all.
        self._tuner.cost_model._close_pool()

    def close(self):
        self._tuner = self._devices = None


class AppliedLogs(ApplyHistoryBest):
    """``autotvm.apply_history_best`` that counts what it was asked."""

    def __init__(self, paths):
        super().__init__(paths or None)
        self.hits, self.misses = set(), set()
        self._known = {workload_hash(entry.task.name, entry.task.args) for entry, _ in self.best_by_targetkey.values()}

    def _query_inside(self, target, workload):
        found = super()._query_inside(target, workload)
        key = workload_hash(workload[0], workload[1:]) if workload is not None else ""
        if found is None:
            self.misses.add(key)
        elif key in self._known:  # others are layouts of these, noted while the module is compiled
            self.hits.add(key)
        return found


def workload_hash(name: str, arguments) -> str:
    """Of a template's name and arguments, as hexadecimal digits."""
    text = json.dumps([name, arguments], default=str)
    return "0x" + hashlib.sha256(text.encode()).hexdigest()[:16]


def _tasks_of(call, target):
    variables = [relay.var(f"arg{i}", arg.checked_type) for i, arg in enumerate(call.args)]
    function = relay.Function(variables, relay.Call(call.op, variables, call.attrs))
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(function))
    return autotvm.task.extract_from_program(mod["main"], params={}, target=target)


def _keep_blocks(native, target) -> int:
    """Leave only the points of a blocked convolution that have TOPI's own channel blocks; how many, 0: all are left.

    Each layer's own best block is another one, and what a network wins by them it loses to layout changes in between:
    with free blocks, tuned YOLOv5s was slower than untuned (docs/relay.md).
    """
    if not native.name.startswith("conv2d_NCHWc"):
        return 0
    with target:
        lanes = get_simd_32bit_lanes()
    (_, data, _), (_, weight, _) = native.args[:2]
    out_block = _largest_factor(weight[0], lanes)
    blocks = (_largest_factor(data[1], out_block), out_block)  # as topi.x86.conv2d_avx_common's fallback has them
    space = native.config_space
    space.multi_filter(lambda point: (point["tile_ic"].size[-1], point["tile_oc"].size[-1]) == blocks)
    return len(space)


def _largest_factor(number: int, limit: int) -> int:
    return max(factor for factor in range(1, limit + 1) if number % factor == 0)


def _title(native) -> str:
    shapes = ["x".join(map(str, arg[1])) for arg in native.args if isinstance(arg, tuple) and arg[:1] == ("TENSOR",)]
    return f"{native.name.split('.')[0].replace('_NCHWc', '')} {' '.join(shapes[:2])}"


def _builder(measuring: Measuring):
    if measuring.rpc is not None:  # the device links for itself
        return autotvm.LocalBuilder(timeout=BUILD_TIMEOUT)
    return autotvm.LocalBuilder(timeout=BUILD_TIMEOUT, build_func=cc.create_shared)


def _runner(measuring: Measuring):
    if measuring.rpc is None:
        return LocalRunner(measuring.threads, measuring.repeat, RUN_TIMEOUT)
    host, port, key = measuring.rpc
    return autotvm.RPCRunner(key, host, port, timeout=RUN_TIMEOUT, number=1, repeat=measuring.repeat, min_repeat_ms=0)


def _message(result) -> str:
    lines = [line for line in str(result.costs[-1]).strip().splitlines() if line.strip()]
    kind = autotvm.measure.MeasureErrorNo(result.error_no).name.lower().replace("_", " ")
    return f"{kind}: {lines[-1].strip()}" if lines else kind
