"""Right before fast: every kernel, raw outputs and boxes against references, on fresh random inputs.

Kernels that schedule rules made: their own loops, unscheduled, in float32 on the CPU. Preprocessing: the numpy
reference, whose levels are OpenCV's. Candidate filter and NMS: numpy's. TopK: onnxruntime's. Raw outputs:
onnxruntime in float32, natively and from an artifact with PTX for sm_72, what Jetson AGX Xavier would run. Boxes: the
numpy NMS on the same program's raw outputs, and the boxes of this project on the CPU in float32.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import tvm
from onnx import TensorProto, helper, numpy_helper
from tvm import tirx
from tvm_ffi import structural_map

import tvm_zerocopy as tz
from on_gpu.work import Work, fetch, place, random_frame
from tvm_zerocopy.benching.agreement import compare_detections
from tvm_zerocopy.errors import UnsupportedError, ZeroCopyError
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.passes.apply_schedules import ApplySchedules
from tvm_zerocopy.passes.raw_kernel import take_temporaries
from tvm_zerocopy.program import build_module
from tvm_zerocopy.reference import image, nms
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning.model import Unscheduled

KERNEL_BOUNDS = {"float32": 1e-4, "float16": 2e-3}  # of a kernel's largest result, by the type it is stored in
RAW_BOUNDS = {"float32": 1e-4, "float16": 2e-3}  # of the outputs' range, by the network's precision
# Of the boxes that the CPU finds in float32, as many must be found, with overlap and score as
# `tvm_zerocopy.benching.agreement` asks. Of random weights many scores lie at the threshold and many overlaps at NMS'.
FOUND = {"float32": 0.99, "float16": 0.9}
FRAMES = 3  # for each check
PREPROCESS = {  # beside the benchmark's own
    "bgr8": (tz.Frame("bgr8"), tz.Preprocess()),
    "nv12": (tz.Frame("nv12"), tz.Preprocess(align="top_left")),
    "i420": (tz.Frame("i420", range="full"), tz.Preprocess.imagenet()),
    "yuyv": (tz.Frame("yuyv", height=180, width=320, matrix="bt709"), tz.Preprocess(interpolation="nearest")),
}


def require(right: bool, wrong: str) -> None:
    """Raise ZeroCopyError with that line unless ``right``."""
    if not right:
        raise ZeroCopyError(wrong)


# --- kernels --------------------------------------------------------------------------------------------------------


def check_kernels(work: Work, random) -> dict[str, float]:
    """{kernel: error relative to its largest result} of all that schedule rules made; wrong ones raise."""
    target = work.target
    unscheduled = Unscheduled(work.model, target, None, work.precision)
    with target:
        scheduled = ApplySchedules(unscheduled.rules, target)(unscheduled.module.clone())
    plain = {
        var.name_hint: func
        for var, func in unscheduled.module.functions_items()
        if isinstance(func, tirx.PrimFunc) and not func.attrs.get("tirx.is_scheduled") and "tz.kernel" not in func.attrs
    }
    bodies = {name: take_temporaries(scheduled[name].body) for name in plain}
    on_gpu = _build(
        {
            name: tirx.PrimFunc([*scheduled[name].params, *temporaries], body, attrs=scheduled[name].attrs)
            for name, (body, temporaries) in bodies.items()
        },
        target,
    )
    on_cpu = _build({name: without_intrinsics(func) for name, func in plain.items()}, resolve_target("llvm"))
    errors = {}
    for name, func in plain.items():
        *inputs, output = [random_argument(parameter, random) for parameter in func.params]
        result = place(np.zeros_like(output))
        temporaries = [np.zeros([int(side) for side in b.shape], str(b.dtype)) for b in bodies[name][1]]
        on_gpu[name](*(b.tensor() for b in (*map(place, inputs), result, *map(place, temporaries))))
        expected = tvm.runtime.tensor(np.zeros_like(output))
        on_cpu[name](*map(tvm.runtime.tensor, inputs), expected)
        found, wanted = fetch(result).astype("float64"), expected.numpy().astype("float64")
        error = float(np.abs(found - wanted).max()) / max(1e-6, float(np.abs(wanted).max()))
        bound = KERNEL_BOUNDS.get(str(output.dtype), 0.0)
        require(error <= bound, f"kernel {name} errs by {error:.2e} of its largest result")  # NaN is wrong too
        errors[name] = error
    return errors


def _build(functions: dict, target):
    """All functions in one module: the CUDA compiler starts once."""
    return build_module(
        tvm.IRModule({name: func.with_attr("global_symbol", name) for name, func in functions.items()}), target
    )


def random_argument(parameter, random) -> np.ndarray:
    """What a kernel's buffer may hold: numbers around zero whose sums over some thousand stay in float16's range; 2
    where it is a single number, which can be an exponent."""
    shape = [int(extent) for extent in parameter.shape]
    dtype = str(parameter.dtype)
    if np.prod(shape) == 1:
        return np.full(shape, 2, dtype)
    if dtype.startswith("float"):
        return random.standard_normal(shape).astype(dtype) * np.asarray(0.5, dtype)
    return random.integers(0, 2, shape).astype(dtype)


def without_intrinsics(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The function with C's exponential and division in the place of the GPU's own, which the CPU does not have."""

    def plain(call):
        if not call.op.same_as(tvm.ir.Op.get("tirx.call_pure_extern")):
            return call
        name, *arguments = call.args
        name = str(getattr(name, "value", name))
        if name == "__expf":
            return tirx.exp(*arguments)
        return tirx.Div(*arguments) if name == "__fdividef" else call

    return structural_map(func, (tvm.ir.Call, plain))


# --- kernels that bring their schedule ------------------------------------------------------------------------------


def check_preprocess(work: Work, random) -> dict[str, float]:
    """{case: largest difference from the reference, in levels of 0 to 255}; more than float32's rounding raises."""
    errors = {}
    for name, (frame, preprocess) in {"benchmark": (work.frame, work.preprocess), **PREPROCESS}.items():
        case = Work(work.name, work.size, frame, "float32", work.arch)
        engine = case.compile_preprocess(preprocess)
        worst = 0.0
        for _ in range(FRAMES):
            picture = random_frame(frame, random)
            expected = image.preprocess(picture, frame, preprocess, work.input_size)
            difference = np.abs(engine(place(picture))[0] - expected).max()
            worst = max(worst, float(difference * min(preprocess.std) / preprocess.scale))
        require(worst <= 1e-3, f"preprocessing of {name} frames errs by {worst:.3f} levels")
        errors[name] = worst
    return errors


# Numbers of a row, rows in a row of the frame a channel, and the frame's height.
_HEADS = {"yolov5": (85, 8, 640), "yolov8": (84, 8, 640), "end2end": (6, 50, 20)}


def check_heads(arch: str, random, least: bool = False) -> dict[str, int]:
    """{head: boxes compared}: decode, filter and NMS of frames of noise, whose levels are taken for raw outputs.

    ``least``: of few rows.
    """
    compared = {}
    for head, (columns, side_by_side, height) in _HEADS.items():
        height, width = 8 if least else height, columns * side_by_side
        # a level of 256 in pixels or as a score: exact in float32, so that references and kernels decide alike
        pixels, half = [width / 256, height / 256], [width / 512, height / 512]
        scores = [1 / 256, 1.0] if head == "end2end" else [1 / 256] * (columns - 4)
        factors = [*pixels, *(pixels if head == "end2end" else half), *scores]
        setting = tz.Nms(conf=0.5, iou=0.45, max_det=300, head=head)
        frame, preprocess = tz.Frame("rgb8", height=height, width=width), tz.Preprocess(scale=1.0)
        model = _head_model(head, (height, width), columns, factors)
        engine = tz.compile(model, frame=frame, preprocess=preprocess, postprocess=setting, target=f"cuda -arch={arch}")
        compared[head] = 0
        for _ in range(FRAMES):
            picture = random.integers(0, 256, (height, width, 3), np.uint8)
            rows = image.preprocess(picture, frame, preprocess, (height, width)).reshape(-1, columns)
            raw = rows * np.float32(factors)
            expected = nms.detect(raw.T if head == "yolov8" else raw, head, setting.conf, setting.iou, setting.max_det)
            found = engine(place(picture))
            boxes = np.clip(expected[0], 0, [width, height, width, height])
            same = len(found.scores) == len(expected[1]) and (
                np.array_equal(found.scores, expected[1])
                and np.array_equal(found.classes, expected[2])
                and np.allclose(found.boxes, boxes, atol=1e-3)
            )
            require(same, f"the {head} head's kernels differ from the numpy NMS")
            compared[head] += len(found.scores)
        require(compared[head] > 0, f"the check of the {head} head compared no box")
    return compared


def check_sorting(arch: str, random, least: bool = False) -> int:
    """Rows compared with onnxruntime's, number for number: the ending of YOLOv10 and YOLO26 with its two TopK, on
    frames of noise, whose levels are taken for boxes and scores. Most scores are equal to others: their order counts.

    ``least``: of few rows.
    """
    (height, width), best = ((28, 40), 20) if least else ((420, 560), 300)
    frame, preprocess = tz.Frame("rgb8", height=height, width=width), tz.Preprocess(scale=1.0)
    model = _best_first_model((height, width), best)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    target = f"cuda -arch={arch}"
    engine = tz.compile(model, frame=frame, preprocess=preprocess, postprocess=None, target=target)
    require(any("topk" in call["kernel"] for call in engine.program["calls"]), "the check of TopK runs no TopK")
    for _ in range(FRAMES):
        picture = random.integers(0, 256, (height, width, 3), np.uint8)
        blob = image.preprocess(picture, frame, preprocess, (height, width))
        (expected,) = session.run(None, {"images": blob})
        same = np.array_equal(engine(place(picture))[0], expected)
        require(same, "TopK: the best boxes differ from onnxruntime's")
    return FRAMES * best


def _best_first_model(size, best: int, classes: int = 80) -> onnx.ModelProto:
    """(1, best, 6) of rows of 4 + ``classes`` levels: the rows of the best scores, then the best (row, class) pairs."""
    height, width = size
    rows, columns = 3 * height * width // (4 + classes), 4 + classes
    integers = {
        "shape": [1, rows, columns], "parts": [4, classes], "best": [best], "axis": [-1],
        "over boxes": [1, 1, 4], "over classes": [1, 1, classes], "flat": [1, best * classes], "classes": [classes],
    }  # fmt: skip
    weights = [numpy_helper.from_array(np.array(values, "int64"), name) for name, values in integers.items()]
    node = helper.make_node
    nodes = [
        node("Reshape", ["images", "shape"], ["levels"]),
        node("Split", ["levels", "parts"], ["boxes", "scores"], axis=2),
        node("ReduceMax", ["scores"], ["row scores"], axes=[-1], keepdims=0),
        node("TopK", ["row scores", "best"], ["best row scores", "row"], axis=1),
        node("Unsqueeze", ["row", "axis"], ["rows"]),
        node("Tile", ["rows", "over boxes"], ["rows of boxes"]),
        node("GatherElements", ["boxes", "rows of boxes"], ["best boxes"], axis=1),
        node("Tile", ["rows", "over classes"], ["rows of scores"]),
        node("GatherElements", ["scores", "rows of scores"], ["best scores"], axis=1),
        node("Reshape", ["best scores", "flat"], ["pair scores"]),
        node("TopK", ["pair scores", "best"], ["top", "pair"], axis=-1),
        node("Mod", ["pair", "classes"], ["class"]),
        node("Div", ["pair", "classes"], ["place"]),
        node("Unsqueeze", ["place", "axis"], ["places"]),
        node("Tile", ["places", "over boxes"], ["places of boxes"]),
        node("GatherElements", ["best boxes", "places of boxes"], ["top boxes"], axis=1),
        node("Cast", ["class"], ["label"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["top", "axis"], ["top column"]),
        node("Unsqueeze", ["label", "axis"], ["label column"]),
        node("Concat", ["top boxes", "top column", "label column"], ["raw"], axis=2),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])]
    outputs = [helper.make_tensor_value_info("raw", TensorProto.FLOAT, [1, best, 6])]
    graph = helper.make_graph(nodes, "best_first", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def _head_model(head: str, size, columns: int, factors) -> onnx.ModelProto:
    """Levels of the frame, ``columns`` in a row, times the factors."""
    height, width = size
    rows = 3 * height * width // columns
    nodes = [
        helper.make_node("Reshape", ["images", "shape"], ["levels"]),
        helper.make_node("Mul", ["levels", "factors"], ["rows" if head == "yolov8" else "raw"]),
    ]
    shape = [1, rows, columns]
    if head == "yolov8":
        nodes.append(helper.make_node("Transpose", ["rows"], ["raw"], perm=[0, 2, 1]))
        shape = [1, columns, rows]
    weights = [
        numpy_helper.from_array(np.array([1, rows, columns], "int64"), "shape"),
        numpy_helper.from_array(np.array(factors, "float32"), "factors"),
    ]
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, height, width])]
    outputs = [helper.make_tensor_value_info("raw", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, head, inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


# --- programs -------------------------------------------------------------------------------------------------------


def check_raw_outputs(work: Work, random, engine=None) -> float:
    """The largest error, of the outputs' range; more than ``RAW_BOUNDS`` raises."""
    engine, worst = engine or work.raw, 0.0
    for _ in range(FRAMES):
        frame = random_frame(work.frame, random)
        for found, expected in zip(engine(place(frame)), work.expected(frame)):
            error = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
            bound = RAW_BOUNDS[work.precision]
            require(error <= bound, f"{work.name} in {work.precision} errs by {error:.2e} of the outputs' range")
            worst = max(worst, error)
    return worst


def artifact_path(folder: Path, work: Work) -> Path:
    """Of a program for sm_72 with PTX."""
    return folder / f"{work.name}-{work.precision}.so"


def write_sm_72(work: Work, folder: Path) -> Path:
    """The program for sm_72 as an artifact with PTX; needs a CUDA compiler that knows sm_72 (12), and no GPU.

    Raises
    ------
    UnsupportedError
        If there is none.
    """
    engine = work.compile(target=resolve_target("cuda -arch=sm_72"))
    return engine.export(artifact_path(folder, work), ptx=True)


def check_sm_72(work: Work, random, folder: Path | None) -> float:
    """As `check_raw_outputs`, of what was compiled for sm_72: the artifact in ``folder``, or one that is made now.

    Raises
    ------
    UnsupportedError
        If it is not there and cannot be made here.
    """
    if folder is not None and artifact_path(folder, work).exists():
        return check_raw_outputs(work, random, tz.load(artifact_path(folder, work)))
    try:
        with tempfile.TemporaryDirectory() as made:
            return check_raw_outputs(work, random, tz.load(write_sm_72(work, Path(made))))
    except UnsupportedError as error:
        raise UnsupportedError(
            f"{error}; or make it elsewhere: gpu.py --write-sm72 FOLDER, here --sm72 FOLDER"
        ) from error


def check_boxes(work: Work, random, kinds) -> float:
    """The share of the CPU's float32 boxes that are found; fewer than ``FOUND`` raises, as does one that the numpy NMS
    does not make of the program's own raw outputs."""
    setting, engine, raw = work.nms, work.whole, work.raw
    on_cpu = tz.compile(work.model, frame=work.frame, preprocess=work.preprocess, postprocess=setting)
    geometry = letterbox(work.frame.height, work.frame.width, *work.input_size, work.preprocess)
    boxes = matched = 0
    for kind in kinds:
        frame = random_frame(work.frame, random)
        placed = place(frame, kind)
        found, theirs = engine(placed).copy(), on_cpu(frame).copy()
        expected = nms.detect(raw(placed)[0][0], work.head, setting.conf, setting.iou, setting.max_det)
        in_frame = unletterbox_boxes(expected[0].astype(float), geometry, work.frame.height, work.frame.width)
        same = len(found.scores) == len(expected[1]) and (
            np.array_equal(found.classes, expected[2])
            and np.allclose(found.scores, expected[1], rtol=1e-6)
            and np.allclose(found.boxes, np.reshape(in_frame, (-1, 4)), atol=0.1)
        )
        require(same, f"{work.name} in {work.precision}: boxes from {kind} memory are not its raw outputs' own")
        pair = [[(d.boxes, d.scores, d.classes)] for d in (theirs, found)]
        agreement = compare_detections("CPU", *pair, setting.conf, reduced=work.precision == "float16")
        boxes, matched = boxes + agreement.boxes, matched + agreement.matched
    require(boxes > 0, f"{work.name}: the check compared no box")
    share, least = matched / boxes, FOUND[work.precision]
    require(share >= least, f"{work.name} in {work.precision} finds {share:.1%} of the CPU's boxes; bound {least:.0%}")
    return share
