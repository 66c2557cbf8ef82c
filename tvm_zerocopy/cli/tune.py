"""``tvm-zerocopy tune``: search the schedules' choices on the target, and keep, publish, check or merge the logs."""

import argparse
import os
import shlex
from pathlib import Path

from rich.table import Table

from ..errors import SpecError
from . import UsageError, common

EXAMPLE = """
tvm-zerocopy tune yolov5s.onnx
tvm-zerocopy tune yolov5s.onnx --trials 200 --publish my_logs/x86_64-avx512/yolov5s
tvm-zerocopy tune yolov5s.onnx --target nvidia/jetson-agx-xavier --rpc 192.168.1.10:9190 --key xavier
tvm-zerocopy tune yolov5s.onnx --tuner autotvm --trials 1000
tvm-zerocopy tune yolov5s.onnx --target nvidia/jetson-agx-xavier --measure predicted
tvm-zerocopy tune --check my_logs/x86_64-avx512/yolov5s
tvm-zerocopy tune --merge run1 run2 --work-dir merged
"""


def add_arguments(parser) -> None:
    parser.add_argument("model", nargs="?", metavar="MODEL.onnx")
    parser.add_argument("--input-shape", type=common.shape, metavar="N,3,H,W", help="fixes a model's dynamic axes")
    parser.add_argument("--target", default="llvm", help="TVM target (default llvm: this machine's CPU)")
    parser.add_argument("--precision", default="float32", help="as for compile (default float32)")
    parser.add_argument("--work-dir", metavar="DIR", help="where the log grows; run again to go on (tuning/MODEL)")
    parser.add_argument(
        "--tuner",
        choices=("metaschedule", "autotvm", "ansor"),
        default="metaschedule",
        help="autotvm and ansor: in TVM builds with Relay (default metaschedule)",
    )
    parser.add_argument(
        "--space",
        choices=("design", "generic"),
        default="design",
        help="this package's design spaces, or MetaSchedule's generic search",
    )
    parser.add_argument(
        "--trials", type=common.whole_number, metavar="N", help="in this run, at most (default: the whole space)"
    )
    parser.add_argument("--threads", type=common.whole_number, metavar="N", help="default: all CPUs allowed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rpc", type=_address, metavar="HOST:PORT", help="a TVM RPC tracker that lends the devices")
    parser.add_argument("--key", metavar="K", help="the devices' key at the tracker")
    parser.add_argument(
        "--measure",
        choices=("local", "other_arch", "predicted"),
        help="for a GPU: on this machine's, on this machine's though it is another architecture, or by a static model "
        "(default: local if the GPU here is the target's, else predicted)",
    )
    parser.add_argument(
        "--finalists",
        type=_count,
        default=4,
        metavar="N",
        help="candidates of each kernel that are compared with its default inside the network, for a CPU here "
        "(default 4; 0: the fastest alone wins)",
    )
    parser.add_argument("--publish", metavar="DIR", help="write the best records and a manifest there at the end")
    other = parser.add_argument_group("instead of tuning").add_mutually_exclusive_group()
    other.add_argument("--list", action="store_true", help="the published logs")
    other.add_argument("--check", metavar="LOG", help="apply and compile every record of a log")
    other.add_argument("--merge", metavar="LOG", nargs="+", help="the best records of several logs, into --work-dir")


def run(args) -> int:
    if args.list:
        return _list(args)
    from ..tuning.run import check_tuner

    check_tuner(args.tuner)
    if args.check:
        return _check(args)
    if args.merge:
        return _merge(args)
    if not args.model:
        raise UsageError("give a MODEL.onnx to tune, or --list, --check LOG or --merge LOG...")
    if (args.rpc is None) != (args.key is None):
        raise UsageError("--rpc HOST:PORT and --key K belong together")
    if args.rpc and args.measure:
        raise UsageError("--rpc measures on the devices of a tracker; leave --measure out")
    if args.space == "generic" and args.trials is None:
        raise UsageError("--space generic has no end of its own; give --trials N")
    return _tune(args)


def _require_folder(path) -> None:
    """Before any work: a file where a folder is to be would lose it."""
    if path and Path(path).exists() and not Path(path).is_dir():
        raise SpecError(f"{path} is a file; give a folder for the log")


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 0")
    return int(text)


def _address(text: str):
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:9190")
    return host, int(port)


def _options(args):
    from ..targets import available_cores
    from ..tuning.run import Options

    return Options(
        model=args.model,
        target=args.target,
        shapes=args.input_shape,
        precision=args.precision,
        folder=Path(args.work_dir or Path("tuning") / Path(args.model).stem) if args.model else None,
        tuner=args.tuner,
        space=args.space,
        trials=args.trials,
        threads=args.threads or available_cores(),
        seed=args.seed,
        rpc=(*args.rpc, args.key) if args.rpc else None,
        measure=args.measure,
        finalists=args.finalists,
    )


def _tune(args) -> int:
    from ..threads import VARIABLE as THREADS
    from ..threads import use_available_cpus
    from ..tuning import host, manifest, view
    from ..tuning.run import road

    if not Path(args.model).exists():
        raise SpecError(f"{args.model} does not exist; give an ONNX file")
    for folder in (args.work_dir, args.publish):
        _require_folder(folder)
    if args.threads:
        os.environ[THREADS] = str(args.threads)
    use_available_cpus()  # before TVM runs anything: it reads the number once
    options = _options(args)
    run = road().Run(options)
    peak = host.peak_gflops(run.target) if not args.rpc and run.target.kind.name == "llvm" else None
    console = common.human_console(args.json)
    console.print(run.line(), soft_wrap=True, highlight=False)
    with view.view_for(console) as show:
        state, problems = run.tune(peak, show)
    for problem in problems:
        common.warn(f"set aside from an earlier run: {problem}")
    console.print(view.task_table(state, len(state.tasks)))
    console.print(view.summary(state), highlight=False)
    with common.Steps("confirming") as steps:
        confirmation = run.confirm(steps.advance)
    if confirmation is not None:
        console.print(confirmation.line(), soft_wrap=True, highlight=False)
    console.print(f"log      {options.folder}", soft_wrap=True, highlight=False)
    if args.publish:
        facts = manifest.describe(
            run.best_seconds(),
            [item.task for item in state.tasks],
            run.target,
            model=Path(args.model).stem,
            measured=run.measured,
            device=run.device,
            threads=options.threads,
            command="tvm-zerocopy tune " + shlex.join(_public_arguments(args)),
            tuner=args.tuner,
            confirmation=confirmation,
        )
        facts["trials"] = sum(item.trials for item in state.tasks)  # of all runs on the same folder
        count = run.publish(args.publish, facts)
        console.print(f"published {count} records in {args.publish}", soft_wrap=True, highlight=False)
    with common.json_lines(args.json) as write:
        report = {**_report(state, options.folder), "measured": run.measured, "device": run.device}
        write({**report, "in_network": confirmation.to_dict() if confirmation is not None else None})
    return _exit_code(state)


def _exit_code(state) -> int:
    """1, and why, if no candidate of some kernel ran; kernels that the trials did not come to are no failure."""
    failed = [item for item in state.tasks if item.trials and item.failures == item.trials]
    if not failed:
        return 0
    last = next((item.error for item in reversed(failed) if item.error), "in an earlier run")
    common.print_error(
        f"no candidate of {len(failed)} of {len(state.tasks)} kernels could be timed (the last failure: "
        f"{last.strip().splitlines()[-1][:300]}); their schedules' defaults stay"
    )
    return 1


def _public_arguments(args) -> list:
    """The command for the manifest, without this machine's folders and addresses."""
    given = [Path(args.model).name, "--target", args.target, "--space", args.space, "--seed", str(args.seed)]
    given += ["--precision", args.precision] if args.precision != "float32" else []
    given += ["--tuner", args.tuner] if args.tuner != "metaschedule" else []
    given += ["--measure", args.measure] if args.measure else []
    given += ["--finalists", str(args.finalists)] if args.finalists != 4 else []
    return given + (["--trials", str(args.trials)] if args.trials else [])


def _report(state, folder) -> dict:
    tasks = [
        {
            "name": item.task.name,
            "hash": item.task.hash,
            "runs": item.task.weight,
            "flop": item.task.flop,
            "points": item.task.points,
            "trials": item.trials,
            "failures": item.failures,
            "best_ms": item.best * 1e3 if item.best < float("inf") else None,
            "gflops": item.gflops,
        }
        for item in state.tasks
    ]
    curve = [{"seconds": s, "trials": n, "kernels_ms": latency * 1e3} for s, n, latency in state.curve]
    return {"log": str(folder), "trials": state.done, "peak_gflops": state.peak, "tasks": tasks, "curve": curve}


def _list(args) -> int:
    from ..tuning import catalog, manifest

    table = Table(box=None, pad_edge=False)
    table.add_column("log", no_wrap=True)  # names are for --check and --merge: never shortened
    for name in ("kernels", "time", "GFLOP/s", "measured", "device"):
        table.add_column(name, no_wrap=name != "device")
    rows = []
    for folder in catalog.folders():
        facts = manifest.read(folder)
        name = catalog.name_of(folder)
        rows.append({"log": name, **facts})
        figures = facts["figures"]
        table.add_row(
            name,
            str(len(facts["workloads"])),
            f"{figures['tuned_kernels_ms']:.2f} ms",
            f"{figures['gflops']:.0f}",
            facts["measured"],
            facts["device"],
        )
    with common.json_lines(args.json) as write:
        for row in rows:
            write(row)
    common.human_console(args.json).print(table if rows else "no log is published in this installation")
    return 0


def _check(args) -> int:
    from ..tuning.run import road

    with common.Steps("checking") as steps, common.json_lines(args.json) as write:
        found = road().check(args.check, _options(args), lambda done, total: steps.advance("", done, total))
        write(found)
    console = common.human_console(args.json)
    for problem in found["problems"]:
        console.print(problem, soft_wrap=True, markup=False)
    console.print(
        f"{found['compiled']} of {found['records']} records apply and compile, "
        f"for {found['workloads']} workloads; {len(found['problems'])} problems",
        highlight=False,
    )
    return 0 if found["records"] and not found["problems"] else 1


def _merge(args) -> int:
    from ..tuning.run import road

    if not args.work_dir:
        raise UsageError("--merge needs --work-dir DIR for the result")
    _require_folder(args.work_dir)
    count, problems = road().merge(args.merge, args.work_dir)
    for problem in problems:
        common.warn(problem)
    with common.json_lines(args.json) as write:
        write({"log": args.work_dir, "records": count, "problems": problems})
    common.human_console(args.json).print(f"{count} records in {args.work_dir}", soft_wrap=True, highlight=False)
    return 0
