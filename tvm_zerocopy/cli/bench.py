"""``tvm-zerocopy bench``: this project and its peers on the same frames, in turns; stages, kernels, a page to read."""

import argparse
import os
import tempfile
from pathlib import Path

from ..embedded import model_path, sample_video
from ..errors import UnsupportedError
from ..specs import Frame
from ..threads import AVAILABLE
from . import UsageError, bench_moves, bench_outputs, bench_tables, common, model_options

EXAMPLE = """
tvm-zerocopy bench yolov5s.onnx
tvm-zerocopy bench yolov5s.onnx --engines ours,onnxruntime,openvino --json result.json --plot result.png
tvm-zerocopy bench yolov5s.onnx --engines all --report page/
tvm-zerocopy bench yolov5s.onnx --engines all --compare result.json
tvm-zerocopy bench yolov5s.onnx --stages street.mp4
tvm-zerocopy bench yolov5s.onnx --layers
tvm-zerocopy bench yolov5s.onnx --trace trace.json
tvm-zerocopy bench --nsys report1.sqlite --frames 100
"""


def add_arguments(parser) -> None:
    from ..benching.engines import ENGINES

    parser.add_argument("model", nargs="?", metavar="ONNX|.so", help="a model or an artifact; none: the embedded one")
    race = parser.add_argument_group("race")
    race.add_argument("--engines", metavar="NAME,...", help=f"default: ours; all, or: {', '.join(ENGINES)}")
    race.add_argument("--source", metavar="FILE", help="frames: a picture, a folder or a video (default: samples)")
    race.add_argument("--warmup", type=common.whole_number, default=20, metavar="N", help="frames (default 20)")
    race.add_argument("--iterations", type=common.whole_number, default=100, metavar="N", help="frames (default 100)")
    race.add_argument(
        "--processes",
        type=common.whole_number,
        default=1,
        metavar="N",
        help="that share the frames (default 1)",
    )
    race.add_argument("--budget", type=_seconds, default=60.0, metavar="SECONDS", help="for one engine (default 60)")
    race.add_argument("--threads", type=common.whole_number, metavar="N", help="of every engine (default: all CPUs)")
    race.add_argument("--power", action="store_true", help="watts and joules too: tegrastats, NVML, RAPL")
    more = parser.add_argument_group("instead of a race")
    more.add_argument(
        "--stages",
        metavar="SOURCE",
        help="capture, preprocess, inference, post-process, draw; a picture, a video or a camera (/dev/video0)",
    )
    more.add_argument("--layers", action="store_true", help="every kernel: time, GFLOP/s, share of the peak, bytes")
    more.add_argument("--trace", metavar="FILE.json", help="every kernel and copy of some frames, for Perfetto")
    more.add_argument("--nsys", metavar="FILE", help="copies in an Nsight Systems export of any program, no model")
    more.add_argument("--frames", type=common.whole_number, metavar="N", help="frames in that profile (default 1)")
    out = parser.add_argument_group("output")
    out.add_argument("--csv", metavar="FILE", help="one line for each engine")
    out.add_argument("--plot", metavar="FILE.png")
    out.add_argument("--report", metavar="DIR", help="a page with everything: race, stages, layers")
    out.add_argument("--compare", metavar="OLD.json", help="what changed beyond noise since that result")
    model_options.add_frame(parser, "--format")
    model_options.add_model(parser)
    parser.add_argument("--raw", action="store_true", help="no decode and NMS: the model's raw outputs")


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return value


def run(args) -> int:
    """Each part the arguments ask for fills its key of one result, which every output is made of."""
    from ..benching import compare

    _check_usage(args)
    if args.nsys:
        return bench_moves.run_nsys(args)
    engines = _engines(args.engines)
    bench_outputs.check(args)
    old = compare.read_result(args.compare) if args.compare else None
    if args.threads:
        os.environ["TVM_NUM_THREADS"] = str(args.threads)
    console = common.human_console(args.json)
    with tempfile.TemporaryDirectory(prefix="tvm-zerocopy-") as folder, common.json_lines(args.json) as write:
        result = _measure(args, engines, folder)
        if old is not None:
            result["comparison"] = compare.compare(old, result)
        write(result)
    bench_tables.show(result, console)
    bench_outputs.write(args, result, console)
    return 0 if any(row["status"] == "ran" for row in result["engines"]) or not result["engines"] else 1


def _check_usage(args) -> None:
    alone = (args.stages or args.layers or args.trace) and not args.report  # which does the race too
    if alone and args.engines:
        raise UsageError("--engines is of the race; leave out --stages, --layers and --trace, or use --report for all")
    if args.compare and alone:
        raise UsageError("--compare is of the race; leave out --stages, --layers and --trace")
    if args.plot and args.trace and not (args.stages or args.layers or args.report):
        raise UsageError("--plot draws a race, --stages or --layers; a trace is seen in https://ui.perfetto.dev")
    if args.csv and alone:
        raise UsageError("--csv is of the race; use --json")
    if args.power and alone:
        raise UsageError("--power is of the race; leave out --stages, --layers and --trace")
    if args.frames and not args.nsys:
        raise UsageError("--frames says how many a profile holds: give --nsys; a race takes --iterations")
    if args.nsys and (args.model or args.engines or alone or args.power or args.csv or args.plot or args.report):
        raise UsageError("--nsys reads a profile that is there, and goes with --frames and --json only")
    if args.source and args.size:
        raise UsageError("--size is of the sample pictures; frames of --source keep their size")


def _engines(text) -> list:
    from ..benching.engines import ENGINES

    if text == "all":
        return list(ENGINES.values())
    names = [name.strip() for name in (text or "ours").split(",") if name.strip()]
    unknown = [name for name in names if name not in ENGINES]
    if unknown or not names:
        raise UsageError(f"--engines: there is no {', '.join(unknown) or 'name'}; there are all, {', '.join(ENGINES)}")
    return [ENGINES[name] for name in dict.fromkeys(names)]


def _measure(args, engines, folder: str) -> dict:
    from ..benching import environment, layers, race

    model = args.model or str(model_path())
    threads = args.threads or AVAILABLE
    everything = bool(args.report)
    with common.Steps("bench") as steps:

        def progress(text: str, done: int, total: int) -> None:
            steps.advance(text, done, total)

        found = {"kind": "bench", "engines": []}
        frames_text = f"of {Path(args.stages).name}" if args.stages else ""
        if everything or not args.stages or args.layers or args.trace:
            frames, work, engine = _prepare(args, model, folder, threads, progress)
            frames_text = frames.text
            found["tuning"] = engine.metadata.get("tuning", {}).get("line")
        found["environment"] = environment.environment(model, frames_text, threads, ["tvm-zerocopy", *args.words])
        if everything or not (args.stages or args.layers or args.trace):
            precision = engine.metadata.get("precision", "float32")
            engines = [each.in_precision(precision) if each.name == "ours" else each for each in engines]
            sensors = None
            if args.power:
                sensors, found["power"] = _sensors()
            results = race.race(
                engines,
                work,
                args.warmup,
                args.iterations,
                args.budget,
                sensors,
                progress,
                show_errors=args.debug,
                processes=args.processes,
            )
            found["engines"] = [result.to_dict() for result in results]
        if args.stages or everything:
            found["stages"] = _stages(args, model, progress)
        if args.layers or everything:
            found["layers"] = layers.measure(engine, frames.arrays[0], args.iterations, progress)
        if args.trace:
            found["trace"] = bench_moves.write_trace(engine, frames.arrays, args.trace, found["environment"])
    return found


def _sensors():
    """The power sensors and their names, or None and why there are none."""
    from .. import power

    try:
        sensors = power.choose()
    except UnsupportedError as error:
        return None, str(error)
    return sensors, "measured with " + " and ".join(sensor.name for sensor in sensors)


def _prepare(args, model: str, folder: str, threads: int, progress):
    """Frames, the Work and the compiled engine."""
    from ..benching import prepare

    artifact = model_options.is_artifact(model)
    if artifact:
        _refuse_compile_options(args, model)
        color = prepare.color_of_artifact(model)
        size = (color.width, color.height) if color.width else prepare.DEFAULT_SIZE
    else:
        color = Frame(args.format or "bgr8", matrix=args.matrix, range=args.range)
        size = args.size or prepare.DEFAULT_SIZE
    frames = prepare.source_frames(args.source, color) if args.source else prepare.sample_frames(color, size)
    if artifact:
        return (frames, *prepare.work_of_artifact(model, frames, folder, threads))
    return (frames, *prepare.work_of_model(model, frames, folder, threads, _options(args), progress))


def _stages(args, model: str, progress) -> dict:
    from ..artifact import load
    from ..benching import stages
    from ..compiler import compile as compile_model

    def engine_for(spec: Frame):
        if model_options.is_artifact(model):
            _refuse_compile_options(args, model)
            return load(model)
        return compile_model(model, frame=spec, progress=progress, **_options(args))

    source = args.stages or args.source or str(sample_video())
    return stages.measure(source, engine_for, args.warmup, args.iterations, progress)


def _options(args) -> dict:
    """Keyword arguments of ``tvm_zerocopy.compile``."""
    return {"postprocess": None if args.raw else model_options.nms(args), **model_options.compile_options(args)}


def _refuse_compile_options(args, model: str) -> None:
    option = model_options.first_compiled_in(args) or ("--raw" if args.raw else None)
    option = option or ("--format" if args.format else None)
    if option:
        raise UsageError(f"{option} is compiled into {model}; give the ONNX model, or compile it again with {option}")
