"""``tvm-zerocopy compile``: an ONNX model into one artifact file."""

import json
import os
import time
from pathlib import Path

from rich.table import Table

from ..cuda_compatibility import JETPACK_5, TEGRA
from ..cuda_toolchain import arch_number, find_toolchain
from ..errors import ArtifactError, UnsupportedError
from ..specs import spec_fields
from . import common, compile_report, model_options

EXAMPLE = """
tvm-zerocopy compile yolov5s.onnx -o yolov5s.so
tvm-zerocopy compile yolov5s.onnx -o yolov5s.so --format nv12 --size 1920x1080 --dump modules/
tvm-zerocopy compile yolov5s.onnx -o yolov5s_xavier.so --target nvidia/jetson-agx-xavier --report
"""
SLOWEST = 5  # passes in the summary; --json has all


def add_arguments(parser) -> None:
    parser.add_argument("model", metavar="MODEL.onnx")
    parser.add_argument("-o", "--output", metavar="FILE.so", help="default: the model's name with .so, in this folder")
    model_options.add_frame(parser, "--format")
    model_options.add_model(parser)
    parser.add_argument(
        "--ptx", action="store_true", help="kernels for CUDA as PTX, which newer GPUs and older drivers run too"
    )
    parser.add_argument("--raw", action="store_true", help="no decode and NMS: give the model's raw outputs")
    parser.add_argument(
        "--report", action="store_true", help="list every kernel: what it takes, FLOP, bytes; on a GPU predicted times"
    )
    parser.add_argument("--dump", metavar="DIR", help="write the module before and after each pass as TVMScript")


def run(args) -> int:
    from .. import compile as compile_model

    frame = model_options.frame(args, "bgr8")
    postprocess = None if args.raw else model_options.nms(args)
    options = model_options.compile_options(args)
    output = Path(args.output or Path(args.model).stem + ".so")
    _check_output(output)
    _check_target(options.get("target", "llvm"), args.ptx)
    starts, report_of = [], []
    begin = time.monotonic()
    with common.Steps("compiling") as steps, common.json_lines(args.json) as write:

        def progress(step: str, done: int, total: int) -> None:
            starts.append((step, time.monotonic()))
            steps.advance(step, done, total)

        def inspect(module, target) -> None:
            if args.report:
                progress("report", len(starts), len(starts) + 2)
                report_of.append(compile_report.rows(module, target))

        engine = compile_model(
            args.model,
            frame=frame,
            postprocess=postprocess,
            dump=args.dump,
            progress=progress,
            inspect=inspect,
            **options,
        )
        progress("export", len(starts), len(starts) + 1)
        engine.export(str(output), ptx=args.ptx)
        starts.append(("", time.monotonic()))
        report = _report(args.model, output, engine, time.monotonic() - begin, starts)
        report["device_code"] = _device_code(engine, "ptx" if args.ptx else "cubin")
        kernels = report_of[0] if report_of else None
        write({**report, "kernels": compile_report.to_dict(kernels)} if kernels else report)
    _print(report, args)
    if kernels:
        compile_report.print_table(kernels, common.human_console(args.json))
    return 0


def _check_output(output: Path) -> None:
    """Before minutes of work, not after."""
    folder = output.parent
    if output.is_dir():
        raise ArtifactError(f"-o {output} is a folder; name the file, for example {output / 'model.so'}")
    if not folder.is_dir():
        raise ArtifactError(f"-o {output}: there is no folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise ArtifactError(f"-o {output}: the folder {folder} cannot be written; give another")


def _check_target(target, ptx: bool) -> None:
    """As `_check_output`: what the compilers outside TVM can do."""
    from ..artifact import linker
    from ..targets import resolve_target

    resolved = resolve_target(target)
    kind = resolved.kind.name
    if ptx and kind != "cuda":
        raise UnsupportedError(f"--ptx is for CUDA and the target is {kind}; leave it out, or give --target")
    if kind == "cuda":
        find_toolchain(str(resolved.attrs["arch"]))
    linker(resolved)


def _report(model: str, output: Path, engine, seconds: float, starts) -> dict:
    passes = [{"name": name, "seconds": round(end - start, 3)} for (name, start), (_, end) in zip(starts, starts[1:])]
    return {
        "model": model,
        "output": str(output),
        "bytes": output.stat().st_size,
        "seconds": round(seconds, 3),
        "frame": spec_fields(engine.frame),
        "preprocess": spec_fields(engine.preprocess),
        "postprocess": spec_fields(engine.postprocess) if engine.postprocess else None,
        "classes": len(engine.names) if engine.names else None,
        "tuning": engine.metadata["tuning"],
        "steps": passes,
    }


def _device_code(engine, kind: str):
    """What the GPU's code is, and the driver that runs it; None for a CPU."""
    from ..artifact import cuda_requirements

    made = cuda_requirements(engine, kind)
    return made and {"kind": kind, "arch": json.loads(engine.target)["arch"], **made}


def _code_line(code: dict) -> str:
    toolkit, driver = (".".join(map(str, code[key])) for key in ("toolkit", "driver"))
    line = f"{code['arch']}, {code['kind']} of CUDA {toolkit}, for drivers of CUDA {driver} or newer"
    if arch_number(code["arch"]) in TEGRA and tuple(code["driver"]) > JETPACK_5:
        line += f"; JetPack 5's own is {'.'.join(map(str, JETPACK_5))}: --ptx, or see docs/jetson.md"
    return line


def _print(report: dict, args) -> None:
    frame = report["frame"]
    size = f"{frame['width']}x{frame['height']}" if frame["width"] else "any size"
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("output", f"{report['output']} ({report['bytes'] / 1e6:.1f} MB)")
    table.add_row("frame", f"{frame['format']}, {size}")
    table.add_row("compiled in", f"{report['seconds']:.1f} s")
    slowest = sorted(report["steps"], key=lambda step: -step["seconds"])[:SLOWEST]
    table.add_row("slowest steps", ", ".join(f"{step['name']} {step['seconds']:.1f} s" for step in slowest))
    table.add_row("schedules", report["tuning"]["line"])
    if report["device_code"]:
        table.add_row("GPU code", _code_line(report["device_code"]))
    if args.dump:
        table.add_row("modules", args.dump)
    common.human_console(args.json).print(table)
