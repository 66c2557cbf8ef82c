"""How well the static model ranks: predicted against measured times of a model's kernels, on the GPU here.

    python benchmarks/static_model.py MODEL.onnx [--tasks 20] [--json FILE|-] [--plot FILE.png]

For each of the heaviest tasks every point of its design space is predicted as `tune --measure predicted` does, and
timed as `tune --measure local` does, for the architecture of this machine's GPU. Printed: Spearman's rank correlation
of both times for each task with at least four points, how much slower than the fastest the predicted best is, and the
number of candidates in all. Needs a GPU that TVM sees (``tvm-zerocopy doctor``), a CUDA compiler that knows it and
``pip install -e '.[cuda,tune,bench]'``. The model's figures for the architecture must be in
tvm_zerocopy/kernel_model/gpu.py.
"""

import argparse
import sys

import tvm_zerocopy as tz
from tvm_zerocopy.cli.common import json_lines

FEWEST = 4  # points, for a correlation
CANDIDATES = 100  # fewer in all say little


def compare(predicted, measured) -> dict:
    """Rank correlation of two lists of seconds (infinite: did not run), and what following the prediction costs."""
    from scipy.stats import spearmanr

    both = [(p, m) for p, m in zip(predicted, measured) if p < float("inf") and m < float("inf")]
    if len(both) < FEWEST:
        return {"candidates": len(both), "correlation": None, "predicted_best": None}
    times, ranks = [m for _, m in both], spearmanr(*zip(*both)).statistic
    chosen = min(both)[1]
    return {
        "candidates": len(both),
        "correlation": None if ranks != ranks else float(ranks),  # not a number: one of them is constant
        "predicted_best": chosen / min(times),
    }


def seconds_of(builder, runner, contexts, target):
    """Each candidate's seconds by a builder and a runner; infinite where it does not build or run."""
    from tvm.s_tir.meta_schedule.arg_info import ArgInfo
    from tvm.s_tir.meta_schedule.builder import BuilderInput
    from tvm.s_tir.meta_schedule.runner import RunnerInput

    built = builder.build([BuilderInput(sch.mod, target) for sch in contexts])
    found = [float("inf")] * len(contexts)
    ready = [index for index, item in enumerate(built) if not item.error_msg]
    inputs = [
        RunnerInput(built[n].artifact_path, target.kind.name, ArgInfo.from_entry_func(contexts[n].mod)) for n in ready
    ]
    for index, future in zip(ready, runner.run(inputs)):
        result = future.result()
        if not result.error_msg:
            times = sorted(float(seconds) for seconds in result.run_secs)
            found[index] = times[len(times) // 2]
    return found


def plot(rows, path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 5), layout="constrained")
    axes = figure.add_subplot(xscale="log", yscale="log", xlabel="measured, us", ylabel="predicted, us")
    for row in rows:
        label = f"{row['task'][:32]} {row['correlation']:.2f}" if row["correlation"] is not None else row["task"][:32]
        axes.scatter([t * 1e6 for t in row["measured"]], [t * 1e6 for t in row["predicted"]], s=12, label=label)
    axes.legend(fontsize=6)
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--json", metavar="FILE|-")
    parser.add_argument("--plot", metavar="FILE.png")
    args = parser.parse_args()
    try:
        rows = run(args)
    except tz.ZeroCopyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    with json_lines(args.json) as write:
        for row in rows:
            write(row)
    if args.plot:
        plot(rows, args.plot)
    total = sum(row["candidates"] for row in rows)
    print(f"{total} candidates in all" + ("" if total >= CANDIDATES else f"; fewer than {CANDIDATES} say little"))
    return 0


def run(args) -> list:
    from tvm_zerocopy.targets import available_cores, resolve_target
    from tvm_zerocopy.tuning import means, model, session
    from tvm_zerocopy.tuning.search import enumerate_points
    from tvm_zerocopy.tuning.spaces import sketches

    target = resolve_target("cuda")
    roads = [means.means_for(target, choice=choice, workers=available_cores()) for choice in ("predicted", "local")]
    tasks, rules = model.model_tasks(args.model, target)
    rows = []
    for task in session.tunable(tasks, rules, target, "design")[: args.tasks]:
        points = [point for space in sketches(rules, task.mod, target) for point in enumerate_points(task.mod, space)]
        predicted, measured = (seconds_of(how.builder, how.runner, points, target) for how in roads)
        found = compare(predicted, measured)
        row = {"task": task.name, **found, "predicted": predicted, "measured": measured, "device": roads[1].device}
        rows.append(row)
        correlation = "-" if found["correlation"] is None else f"{found['correlation']:.2f}"
        best = "-" if found["predicted_best"] is None else f"{found['predicted_best']:.2f}"
        print(f"{task.name:48.48} {found['candidates']:4} points  rank correlation {correlation:>5}  slower {best:>5}x")
    return rows


if __name__ == "__main__":
    raise SystemExit(main())
