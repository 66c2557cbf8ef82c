"""Does the tuner's measure of a kernel agree with the kernel's time inside the network?

    python benchmarks/tuning_agreement.py yolov5n [--tasks 8 --points 10 --rounds 30] [--json FILE|-]

For each of a model's heaviest kernels some points of its design space are drawn. Each is timed inside the network
(whole programs in turns, `tuning.network`) and alone in two ways: ``hot``, run after run on the same memory, and
``flushed``, with all arguments but the first flushed out of every cache before each run. For each way: Spearman's rank
correlation with the times in the network; the loss, how much slower in the network the point is that looks fastest
alone than the one that is; and the median of the times over those in the network. The first way, the network measured
a second time, is what noise leaves.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from scipy.stats import spearmanr
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

from tvm_zerocopy import models
from tvm_zerocopy.cli.common import json_lines
from tvm_zerocopy.targets import available_cores, resolve_target
from tvm_zerocopy.threads import use_available_cpus
from tvm_zerocopy.tuning import measure, session, spaces
from tvm_zerocopy.tuning.model import Unscheduled
from tvm_zerocopy.tuning.network import Network
from tvm_zerocopy.tuning.search import enumerate_points

EVALUATOR = measure.ms.runner.EvaluatorConfig
ALONE = {
    "hot": EVALUATOR(number=1, repeat=15, min_repeat_ms=0, enable_cpu_cache_flush=False),
    "flushed": measure.EVALUATOR,  # the tuner's
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", nargs="?", default="yolov5n")
    parser.add_argument("--target", default="llvm")
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--points", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", metavar="FILE|-")
    args = parser.parse_args()
    use_available_cpus()
    target = resolve_target(args.target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(models.build(args.model), path)
        unscheduled = Unscheduled(path, target)
    tasks = session.tunable(unscheduled.tasks(), unscheduled.rules, target, "design")[: args.tasks]
    drawn = [draw(task, unscheduled.rules, target, args.points, args.seed + n) for n, task in enumerate(tasks)]
    seconds = dict(zip(("network", "again"), in_network(unscheduled, tasks, drawn, args)))
    builder = measure.WorkerPoolBuilder(available_cores())
    built = [build(builder, task, points, target) for task, points in zip(tasks, drawn)]
    for name, evaluator in ALONE.items():
        runner = measure.local_runner(available_cores(), evaluator=evaluator)
        seconds[name] = [alone(runner, inputs) for inputs in built]
    with json_lines(args.json) as write:
        report(tasks, seconds, write)
    return 0


def draw(task, rules, target, count: int, seed: int) -> list:
    """Some points of a task's design space, as schedules."""
    sketches = spaces.sketches(rules, task.mod, target)
    points = [point for sketch in sketches for point in enumerate_points(task.mod, sketch)]
    order = np.random.default_rng(seed).permutation(len(points))
    return [points[i] for i in order[:count]]


def in_network(unscheduled, tasks, drawn, args) -> list:
    """Median seconds of each drawn point of each task, a program holding one point of every task; measured twice."""
    network = Network(unscheduled)
    columns = max(map(len, drawn))
    engines = [
        network.program({t.hash: points[column].trace for t, points in zip(tasks, drawn) if column < len(points)})
        for column in range(columns)
    ]
    both = [network.time(engines, args.rounds, args.seed + number)[0] for number in range(2)]
    return [
        [
            np.array([np.median(times[column][task.hash]) / task.weight for column in range(len(points))])
            for task, points in zip(tasks, drawn)
        ]
        for times in both
    ]


def build(builder, task, points, target):
    """What a runner takes."""
    inputs = [measure.ms.builder.BuilderInput(point.mod, target) for point in points]
    built = builder.build(inputs)
    args_info = ArgInfo.from_entry_func(task.mod, remove_preproc=True)
    return [measure.ms.runner.RunnerInput(item.artifact_path, "cpu", args_info) for item in built]


def alone(runner, inputs) -> np.ndarray:
    """Median seconds of each candidate."""
    results = [future.result() for future in runner.run(inputs)]
    return np.array([np.median([float(t) for t in r.run_secs]) if r.run_secs else np.inf for r in results])


def report(tasks, seconds, write) -> None:
    ways = [name for name in seconds if name != "network"]
    rows = []
    for number, task in enumerate(tasks):
        truth = seconds["network"][number]
        row = {"kernel": task.name, "points": len(truth), "best_ms": float(truth.min() * 1e3)}
        for way in ways:
            other = seconds[way][number]
            row[way] = {
                "rank_correlation": float(spearmanr(truth, other).statistic),
                "loss": float(truth[int(np.argmin(other))] / truth.min() - 1),
                "over_network": float(np.median(other / truth)),
            }
        rows.append(row)
        write(row)
    print(f"{'kernel':48} {'points':>6} {'best ms':>8}" + "".join(f" {way:>24}" for way in ways))
    for row in rows:
        cells = [(row[w]["rank_correlation"], row[w]["loss"], row[w]["over_network"]) for w in ways]
        text = "".join(f" {c:8.2f} {loss:7.1%} {over:6.2f}x" for c, loss, over in cells)
        print(f"{row['kernel'][:48]:48} {row['points']:6} {row['best_ms']:8.3f}{text}")
    means = [(np.mean([r[w]["rank_correlation"] for r in rows]), np.mean([r[w]["loss"] for r in rows])) for w in ways]
    print(f"{'mean':64}" + "".join(f" {c:8.2f} {loss:7.1%} {'':7}" for c, loss in means))


if __name__ == "__main__":
    sys.exit(main())
