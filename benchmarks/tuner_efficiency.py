"""The tuner's efficiency: best time against trials, this package's design spaces against MetaSchedule's generic search.

    python benchmarks/tuner_efficiency.py run yolov5n --tasks 3 --trials 40 --space design --out results/
    python benchmarks/tuner_efficiency.py run yolov5n --tasks 3 --trials 40 --space generic --out results/
    python benchmarks/tuner_efficiency.py plot results/ docs/figures/tuner_efficiency.png

Both search the same kernels (the model's heaviest, ``--tasks``), from the same seed, with the same number of trials,
cost model, builder and runner; each candidate is timed alone, as the tuner does. A run writes a line a round to
``SPACE.jsonl`` and goes on where it was interrupted. The curve is the sum over the kernels of their best time so far x
how often they run in a frame, once each of them has a time; the schedules' default is what a user gets without a trial.
The generic search cannot build a Winograd kernel (its transforms hold vector loops), so that ``--tasks`` ends before.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from tvm.s_tir.meta_schedule.arg_info import ArgInfo

from tvm_zerocopy import models
from tvm_zerocopy.benching import plots
from tvm_zerocopy.targets import available_cores, resolve_target
from tvm_zerocopy.threads import use_available_cpus
from tvm_zerocopy.tuning import confirm, measure, session
from tvm_zerocopy.tuning.model import model_tasks

TITLES = {"design": "design spaces", "generic": "generic search"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    run_parser = commands.add_parser("run")
    run_parser.add_argument("model")
    run_parser.add_argument("--space", choices=tuple(TITLES), required=True)
    run_parser.add_argument("--target", default="llvm")
    run_parser.add_argument("--tasks", type=int, default=4)
    run_parser.add_argument("--trials", type=int, default=32, help="for each kernel, on average (default 32)")
    run_parser.add_argument("--seed", type=int, default=0)
    run_parser.add_argument("--out", type=Path, required=True)
    plot_parser = commands.add_parser("plot")
    plot_parser.add_argument("folder", type=Path)
    plot_parser.add_argument("picture", type=Path)
    args = parser.parse_args()
    return run(args) if args.command == "run" else plot(args)


def run(args) -> int:
    use_available_cpus()
    target = resolve_target(args.target)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(models.build(args.model), path)
        tasks, rules = model_tasks(path, target)
    tasks = session.tunable(tasks, rules, target, "design")[: args.tasks]
    builder = measure.WorkerPoolBuilder(available_cores(), intrinsics=args.space == "generic")
    runner = measure.local_runner(available_cores())
    args.out.mkdir(parents=True, exist_ok=True)
    if args.space == "generic":
        for task in tasks:
            task.points = 0  # its space has no size
    plan = session.Plan(
        tasks, target, rules, args.out / args.space, args.space, trials=args.trials * len(tasks), seed=args.seed
    )
    with open(args.out / f"{args.space}.jsonl", "a", encoding="utf-8") as file:

        def write(row: dict) -> None:
            file.write(json.dumps(row) + "\n")
            file.flush()
            print(json.dumps(row), flush=True)

        if args.space == "design" and not file.tell():
            write({"model": args.model, "default_ms": defaults(tasks, rules, target, builder, runner) * 1e3})

        def on_round(state) -> None:
            best = [item.task.weight * item.best for item in state.tasks]
            tried = [item.trials for item in state.tasks]
            known = float(np.sum(best)) * 1e3 if np.isfinite(best).all() else None
            write({"trials": sum(tried), "kernels_ms": known, "seconds": state.elapsed, "of_each": tried})

        session.tune(plan, builder, runner, None, on_round)
    return 0


def defaults(tasks, rules, target, builder, runner) -> float:
    """Seconds of the kernels with the schedules' defaults, timed as the candidates are."""
    schedules = [confirm.default_schedule(rules, task.mod, target) for task in tasks]
    built = builder.build([measure.ms.builder.BuilderInput(sch.mod, target) for sch in schedules])
    inputs = [
        measure.ms.runner.RunnerInput(item.artifact_path, "cpu", ArgInfo.from_entry_func(task.mod, remove_preproc=True))
        for item, task in zip(built, tasks)
    ]
    results = [future.result() for future in runner.run(inputs)]
    return sum(t.weight * float(np.median([float(s) for s in r.run_secs])) for t, r in zip(tasks, results))


def plot(args) -> int:
    figure, axes = plots.new_figure(plots.WIDTH, 3.2)
    last = 0
    for space, color in zip(TITLES, plots.ACCENT):
        rows = [json.loads(line) for line in (args.folder / f"{space}.jsonl").read_text().splitlines()]
        curve = [row for row in rows if row.get("kernels_ms")]
        if not curve:
            sys.exit(f"{TITLES[space]}: no candidate of one of the kernels ran; take fewer --tasks or more --trials")
        points, end = [(row["trials"], row["kernels_ms"]) for row in curve], curve[-1]
        last = max(last, end["trials"])
        axes.plot(*zip(*points), marker="o", markersize=3, color=color, label=TITLES[space], drawstyle="steps-post")
        text = f"{end['kernels_ms']:.2f} ms\nafter {end['seconds']:.0f} s"
        axes.annotate(text, points[-1], (6, -4), textcoords="offset points", color=color, va="top")
        for row in rows:
            if "default_ms" in row:
                axes.axhline(row["default_ms"], color="#868e96", linewidth=1, linestyle="--")
                text = f"schedules' default, no trial: {row['default_ms']:.2f} ms"
                axes.annotate(text, (0, row["default_ms"]), (4, 4), textcoords="offset points", color="#868e96")
    axes.set_xlim(0, last * 1.2)
    axes.set_ylim(0)
    axes.set_xlabel("trials")
    axes.set_ylabel("ms a frame, best so far")
    axes.legend(frameon=False, loc="lower right")
    plots.save(figure, str(args.picture))
    return 0


if __name__ == "__main__":
    sys.exit(main())
