"""This project on a CUDA GPU, from a 1080p NV12 frame to boxes: first right, then timed, beside PyTorch in one run.

    python benchmarks/gpu.py
    python benchmarks/gpu.py yolov5s --iterations 200 --json gpu.json

Needs a GPU, ``pip install 'tvm-zerocopy[cuda,cuda12]' onnxruntime``, and for the comparison torch, torchvision and
onnx2torch.

Right: every kernel on fresh random inputs against its own loops, unscheduled, in float32 on the CPU; raw outputs on
fresh random frames against onnxruntime in float32, natively and as PTX for compute_72 (what Jetson AGX Xavier would
run); boxes from every kind of memory against this project on the CPU. A failure ends the run.
Timed: CUDA events around replays of a captured graph, medians. Two floors stand beside them: a device copy of the bytes
that preprocessing moves, and PyTorch's network alone (cuDNN, channels_last, float16, CUDA graph).

This script has not been run on a GPU yet; no figure comes from it.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import sys
import warnings

import numpy as np
import onnxruntime
import tvm
from tvm import tirx
from tvm_ffi import structural_map

import tvm_zerocopy as tz
from tvm_zerocopy import cuda_toolchain, models
from tvm_zerocopy.buffers import ExternalBuffer, cuda
from tvm_zerocopy.errors import ZeroCopyError, ZeroCopyWarning
from tvm_zerocopy.passes.apply_schedules import ApplySchedules
from tvm_zerocopy.reference import image
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning.model import Unscheduled

MODELS = ("yolov5n", "yolov5s", "yolov8n", "yolov8s")
HEIGHT, WIDTH, SIZE = 1080, 1920, 640
FRAME = tz.Frame("nv12", height=HEIGHT, width=WIDTH)
KINDS = ("device", "mapped", "managed")
BOUNDS = {"float32": 1e-4, "float16": 2e-3}  # of the outputs' range
WARM_UP = 20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL")
    parser.add_argument("--precision", action="append", choices=tuple(BOUNDS), help="default: all")
    parser.add_argument("--iterations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=None, help="of the frames; default: new ones each time")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args()
    warnings.simplefilter("ignore", ZeroCopyWarning)
    random = np.random.default_rng(args.seed)
    try:
        api = Events(cuda.runtime())
        device = describe_device()
        print(f"{device['name']}, sm_{device['arch']}")
        rows = []
        for name in args.models:
            model = models.build(name, size=SIZE)
            for precision in args.precision or tuple(BOUNDS):
                target = resolve_target("cuda")
                with cuda_toolchain.compiling(str(target.attrs["arch"])):
                    kernels = check_kernels(Unscheduled(model, target, None, precision), target, tvm.cuda(0), random)
                print(f"{name} {precision}: {len(kernels)} kernels right, largest error {max(kernels.values()):.1e}")
                check(model, precision, random, f"sm_{device['arch']}")
                row = {"model": name, "precision": precision, **measure(model, precision, random, api, args.iterations)}
                row.update(pytorch(model, args.iterations, precision))
                rows.append(row)
                print(json.dumps(row))
    except ZeroCopyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"device": device, "iterations": args.iterations, "rows": rows}, file, indent=1)
    return 0


class Events:
    """CUDA events through NVIDIA's bindings."""

    def __init__(self, runtime):
        self._call = runtime._call

    def milliseconds(self, work, stream: int) -> float:
        """Of what ``work()`` submits to the stream."""
        begin, end = self._call("cudaEventCreate"), self._call("cudaEventCreate")
        self._call("cudaEventRecord", begin, stream)
        work()
        self._call("cudaEventRecord", end, stream)
        self._call("cudaEventSynchronize", end)
        elapsed = self._call("cudaEventElapsedTime", begin, end)
        for event in (begin, end):
            self._call("cudaEventDestroy", event)
        return float(elapsed)

    def median(self, work, stream: int, iterations: int) -> float:
        for _ in range(WARM_UP):
            work()
        return statistics.median(self.milliseconds(work, stream) for _ in range(iterations))


def describe_device() -> dict:
    """Name and compute capability of the first GPU."""
    device = tvm.cuda(0)
    if not device.exist:
        raise ZeroCopyError("TVM sees no CUDA GPU; `tvm-zerocopy doctor` says why")
    return {"name": str(device.device_name), "arch": str(device.compute_version).replace(".", "")}


def place(array: np.ndarray, kind: str) -> ExternalBuffer:
    buffer = ExternalBuffer.allocate(array.shape, array.dtype, kind=kind)
    source = np.ascontiguousarray(array)
    cuda.runtime().copy(buffer.address, source.ctypes.data, source.nbytes)
    return buffer


def random_frame(random) -> np.ndarray:
    return random.integers(0, 256, (HEIGHT * 3 // 2, WIDTH), np.uint8)


@contextlib.contextmanager
def as_ptx():
    """While it lasts, kernels are compiled to PTX, which the driver translates for the GPU that is here."""
    compile_source = cuda_toolchain.compile_source
    cuda_toolchain.compile_source = lambda source, arch, kind="cubin", options=(): compile_source(
        source, arch, "ptx", options
    )
    try:
        yield
    finally:
        cuda_toolchain.compile_source = compile_source


KERNEL_BOUNDS = {"float32": 1e-4, "float16": 2e-3}  # of a kernel's largest result, by the type it is stored in


def check_kernels(unscheduled: Unscheduled, target, device, random) -> dict:
    """{kernel: error relative to its largest result}; the schedule rules' kernels against plain loops on the CPU.

    Raises
    ------
    ZeroCopyError
        If one errs by more than ``KERNEL_BOUNDS``.
    """
    with target:
        scheduled = ApplySchedules(unscheduled.rules, target)(unscheduled.module.clone())
    errors = {}
    for var, func in unscheduled.module.functions_items():
        if not isinstance(func, tirx.PrimFunc) or func.attrs.get("tirx.is_scheduled") or "tz.kernel" in func.attrs:
            continue  # what comes scheduled, the frame's and the head's kernels, is checked from frame to boxes
        *inputs, output = [random_argument(parameter, random) for parameter in func.params]
        results = []
        for body, where, on in ((func, "llvm", tvm.cpu()), (scheduled[var.name_hint], target, device)):
            if on == tvm.cpu():
                body = without_intrinsics(body)
            built = tvm.compile(tvm.IRModule({"main": body.with_attr("global_symbol", "main")}), target=where)
            arguments = [tvm.runtime.tensor(array, on) for array in (*inputs, np.zeros_like(output))]
            built["main"](*arguments)
            results.append(arguments[-1].numpy().astype("float64"))
        expected, found = results
        largest = max(1e-6, float(np.abs(expected).max()))
        error = float(np.abs(found - expected).max()) / largest
        if not error <= KERNEL_BOUNDS.get(str(output.dtype), 0.0):  # NaN fails too
            raise ZeroCopyError(f"kernel {var.name_hint} errs by {error:.2e} of its largest result")
        errors[var.name_hint] = error
    return errors


def random_argument(parameter, random) -> np.ndarray:
    """What a kernel's buffer may hold: numbers around zero whose sums over some thousand stay in float16's range."""
    shape = [int(extent) for extent in parameter.shape]
    dtype = str(parameter.dtype)
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


def identity():
    """A network that gives back its input: what is left of a program is the preprocessing."""
    import onnx
    from onnx import TensorProto, helper

    images, output = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, SIZE, SIZE]) for name in ("images", "output")
    )
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["output"])], "identity", [images], [output])
    return helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)


def check(model, precision: str, random, arch: str) -> None:
    """Raise ZeroCopyError if an output is not what onnxruntime and the CPU say."""
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for built_for, context in ((arch, contextlib.nullcontext()), ("sm_72", as_ptx())):
        with context:
            engine = tz.compile(
                model, frame=FRAME, postprocess=None, target=f"cuda -arch={built_for}", precision=precision
            )
        for _ in range(3):
            frame = random_frame(random)
            blob = image.preprocess(frame, FRAME, tz.Preprocess(), (SIZE, SIZE))
            for found, expected in zip(engine(place(frame, "managed")), session.run(None, {"images": blob})):
                error = float(np.abs(found - expected).max() / max(1.0, np.abs(expected).max()))
                if not error <= BOUNDS[precision]:  # NaN fails too
                    raise ZeroCopyError(f"{precision} built for {built_for} errs by {error:.2e} of the outputs' range")
    if precision != "float32":
        return
    nms = tz.Nms(conf=1e-3)
    on_cpu = tz.compile(model, frame=FRAME, postprocess=nms)
    engine = tz.compile(model, frame=FRAME, postprocess=nms, target=f"cuda -arch={arch}")
    for kind in KINDS:
        frame = random_frame(random)
        found, expected = engine(place(frame, kind)), on_cpu(frame)
        near = len(found.scores) == len(expected.scores) and np.allclose(found.boxes, expected.boxes, atol=0.1)
        if not near:
            raise ZeroCopyError(f"boxes from {kind} memory differ from the CPU's")


def measure(model, precision: str, random, api: Events, iterations: int) -> dict:
    """Milliseconds of a frame from each kind of memory, of its preprocessing and network, and of a copy of the bytes
    that preprocessing moves."""
    engine = tz.compile(model, frame=FRAME, postprocess=tz.Nms(conf=0.25), target="cuda", precision=precision)
    raw = tz.compile(model, frame=FRAME, postprocess=None, target="cuda", precision=precision)
    alone = tz.compile(
        identity(), frame=FRAME, preprocess=tz.Preprocess(), postprocess=None, target="cuda", precision=precision
    )
    stream = cuda.runtime().create_stream()
    figures = {}
    for name, each in (("preprocess_device_ms", alone), ("frame_to_raw_outputs_device_ms", raw)):
        with each.bind(input=place(random_frame(random), "device")) as bound:
            figures[name] = api.median(lambda b=bound: b.run_async(stream), stream, iterations)
    figures["network_ms"] = figures["frame_to_raw_outputs_device_ms"] - figures["preprocess_device_ms"]
    for kind in KINDS:
        bound = engine.bind(input=place(random_frame(random), kind))
        figures[f"frame_to_boxes_{kind}_ms"] = api.median(lambda b=bound: b.run_async(stream), stream, iterations)
        bound.close()
    image_bytes = 3 * SIZE * SIZE * 4
    nbytes = HEIGHT * WIDTH * 3 // 2 + image_bytes
    source, target = (ExternalBuffer.allocate((nbytes,), "uint8", kind="device") for _ in range(2))
    copy_kind = cuda.runtime()._api.cudaMemcpyKind.cudaMemcpyDeviceToDevice

    def copy():
        cuda.runtime()._call("cudaMemcpyAsync", target.address, source.address, nbytes // 2, copy_kind, stream)

    figures["copy_of_preprocessing_s_bytes_ms"] = api.median(copy, stream, iterations)
    return figures


def pytorch(model, iterations: int, precision: str) -> dict:
    """PyTorch's network and whole pipeline on device memory; empty where its packages are missing."""
    try:
        import torch
        import torchvision
        from onnx2torch import convert
    except ImportError as error:
        print(f"no comparison with PyTorch: {error}", file=sys.stderr)
        return {}
    torch.backends.cudnn.benchmark = True
    dtype = torch.float16 if precision == "float16" else torch.float32
    network = convert(model).eval().cuda().to(dtype).to(memory_format=torch.channels_last)
    blob = torch.zeros(1, 3, SIZE, SIZE, device="cuda", dtype=dtype).to(memory_format=torch.channels_last)
    frame = torch.randint(0, 256, (HEIGHT * 3 // 2, WIDTH), dtype=torch.uint8, device="cuda")
    new_height = round(HEIGHT * SIZE / WIDTH)

    def preprocess():
        luma = frame[:HEIGHT].float() - 16
        chroma = frame[HEIGHT:].view(HEIGHT // 2, WIDTH // 2, 2).permute(2, 0, 1).float() - 128
        u, v = torch.nn.functional.interpolate(chroma[None], scale_factor=2)[0]
        y = luma * 1.164
        rgb = torch.stack([y + 1.596 * v, y - 0.813 * v - 0.391 * u, y + 2.018 * u]).clamp(0, 255)
        small = torch.nn.functional.interpolate(rgb[None], (new_height, SIZE), mode="bilinear")
        top = (SIZE - new_height) // 2
        padded = torch.nn.functional.pad(small, (0, 0, top, SIZE - new_height - top), value=114)
        blob.copy_(padded / 255)

    def boxes(raw):
        rows = raw[0].float()
        rows = rows if rows.shape[0] > rows.shape[1] else rows.T
        first = 5 if rows.shape[1] == 85 else 4
        scores, classes = rows[:, first:].max(1)
        scores = scores * rows[:, 4] if first == 5 else scores
        keep = scores > 0.25
        xywh = rows[keep, :4]
        xyxy = torch.cat([xywh[:, :2] - xywh[:, 2:] / 2, xywh[:, :2] + xywh[:, 2:] / 2], 1)
        return torchvision.ops.batched_nms(xyxy, scores[keep], classes[keep], 0.45)[:300]

    with torch.inference_mode():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(3):
                preprocess()
                network(blob)
        side.synchronize()
        whole, alone = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
        with torch.cuda.graph(alone):
            network(blob)
        with torch.cuda.graph(whole):
            preprocess()
            raw = network(blob)
        raw = raw[0] if isinstance(raw, (tuple, list)) else raw

        def frame_to_boxes():
            whole.replay()
            boxes(raw)

        figures = {
            "pytorch_network_ms": torch_median(torch, alone.replay, iterations),
            "pytorch_frame_to_boxes_device_ms": torch_median(torch, frame_to_boxes, iterations),
        }
        compiled = torch.compile(network, mode="max-autotune")
        figures["pytorch_compile_network_ms"] = torch_median(torch, lambda: compiled(blob), iterations)
    return figures


def torch_median(torch, work, iterations: int) -> float:
    for _ in range(WARM_UP):
        work()
    times = []
    for _ in range(iterations):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end))
    return statistics.median(times)


if __name__ == "__main__":
    sys.exit(main())
