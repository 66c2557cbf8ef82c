"""What is timed: this project's programs, copies of the bytes that preprocessing moves, and PyTorch's ways."""

from __future__ import annotations

import sys

import numpy as np

from on_gpu import checks, timing
from on_gpu.work import Work, place, random_frame
from tvm_zerocopy.benching.agreement import compare_detections
from tvm_zerocopy.buffers import ExternalBuffer, cuda
from tvm_zerocopy.engine import BoundEngine, Engine
from tvm_zerocopy.geometry import letterbox
from tvm_zerocopy.reference import image
from tvm_zerocopy.text import one_line

KINDS = {"device": "device", "pinned": "mapped", "managed": "managed"}  # in the results: as ExternalBuffer names it
LEVELS = 1.5  # by which PyTorch's image, of floating-point colours that are not rounded, may differ
SAME_LOGITS, SAME_BOXES = 0.05, 0.9  # of PyTorch's results, from that image


def measure(work: Work, random, iterations: int, compile_mode: str) -> dict:
    """Medians in milliseconds; ours and PyTorch's in turns. ``compile_mode`` is torch.compile's."""
    frame = random_frame(work.frame, random)
    stream, bound, lanes = cuda.runtime().create_stream(), [], []
    engine, network = work.whole, work.compile_network()
    with_image = {"network": (network, np.zeros((1, 3, *work.input_size), "float32"), "device")}
    frames = {f"frame, {name}": (engine, frame, kind) for name, kind in KINDS.items()}
    for name, (program, array, kind) in {**with_image, **frames}.items():
        bound.append(_bind(program, array, kind))
        lanes.append(timing.Lane(f"ours, {name}", stream, lambda b=bound[-1]: b.run_async(stream)))
    lanes += _memory_lanes(work, stream, random)
    found = engine(place(frame)).copy() if work.detects else engine(place(frame))
    lanes += _pytorch_lanes(work, frame, found, compile_mode)
    times = timing.take_turns(lanes, iterations)
    for each in bound:
        each.close()
    return {"milliseconds": times, "moved_bytes": moved_bytes(work), "conf": work.nms and work.nms.conf}


def _bind(program: Engine, array: np.ndarray, kind: str) -> BoundEngine:
    """To new memory of that kind, input and output."""
    output = ExternalBuffer.allocate((program.signature.output_nbytes,), "uint8", kind=kind)
    return program.bind(input=place(array, kind), output=output)


def moved_bytes(work: Work) -> int:
    """That preprocessing reads and writes: the rows of luma and chroma that the image's rows are made of, and the
    float32 image."""
    frame, (height, width) = work.frame, work.input_size
    new_height = letterbox(frame.height, frame.width, height, width, work.preprocess).new_height
    at = (np.arange(new_height) + 0.5) * (frame.height / new_height) - 0.5
    rows = np.union1d(np.floor(at), np.ceil(at)).clip(0, frame.height - 1).astype(int)
    return (len(rows) + len(np.unique(rows // 2))) * frame.width + 3 * height * width * 4


def _memory_lanes(work: Work, stream: int, random) -> list[timing.Lane]:
    """Preprocessing alone, and copies of as many bytes; each launch on memory of its own."""
    program, nbytes = work.compile_preprocess(), moved_bytes(work)
    count = timing.passes_beyond_the_cache(nbytes)
    bound = [_bind(program, random_frame(work.frame, random), "device") for _ in range(count)]
    for each in bound:
        each.run()
    launches = [lambda b=each: b.launch(stream) for each in bound]
    copies = timing.copies(nbytes, count, stream)
    return [
        timing.graph_lane("ours, preprocess", stream, launches),
        timing.graph_lane("copy of the same bytes", stream, copies),
    ]


def _pytorch_lanes(work: Work, frame: np.ndarray, found, compile_mode: str) -> list[timing.Lane]:
    """All of PyTorch's ways that run here and do the same work as what ``found`` the frame's boxes (or logits)."""
    try:
        import torch

        from on_gpu.torch_pipelines import Pipelines
    except ImportError as error:
        print(f"no comparison with PyTorch: {error}", file=sys.stderr)
        return []
    pipelines = Pipelines(work, compile_mode)
    for memory in (pipelines.frame, pipelines.pinned):
        memory.copy_(torch.from_numpy(frame))
    expected = image.preprocess(frame, work.frame, work.preprocess, work.input_size)
    made = pipelines.preprocess(pipelines.frame).float().cpu().numpy()
    levels = np.abs(made - expected).max() * min(work.preprocess.std) / work.preprocess.scale
    checks.require(levels <= LEVELS, f"PyTorch's image differs from ours by {levels:.2f} levels: not the same work")
    ways = [("network", way) for way in pipelines.network_ways()]
    for memory in ("device", "pinned"):
        ways += [(f"frame, {memory}", way) for way in pipelines.whole_ways(memory == "pinned")]
    lanes = []
    for part, way in ways:
        try:
            run = way.make()
            result = run()
        except Exception as error:  # whatever torch.compile and captures raise: the other ways go on
            print(f"PyTorch, {part}, {way.name}: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
            continue
        wrong = None if part == "network" else difference(work, found, result)
        if wrong:
            print(f"PyTorch, {part}, {way.name} is left out: {wrong}", file=sys.stderr)
            continue
        lanes.append(timing.Lane(f"PyTorch, {part}, {way.name}", pipelines.handle, run))
    return lanes


def difference(work: Work, found, result) -> str | None:
    """What speaks against the same work: too few of this project's boxes, other logits; None if nothing does."""
    if not work.detects:
        logits = result.float().cpu().numpy()
        error = float(np.abs(logits - found[0]).max() / np.abs(found[0]).max())
        return f"logits differ by {error:.1%}" if error > SAME_LOGITS else None
    if result.settled is not None and not bool(result.settled):
        return "its fixed sizes are too small for this frame"
    arrays = [each.float().cpu().numpy() for each in result[:3]]
    theirs = [each[arrays[1] > 0] for each in arrays]
    pair = [[(found.boxes, found.scores, found.classes)], [theirs]]
    agreement = compare_detections("this project", *pair, work.nms.conf, reduced=True)
    return None if agreement.matched >= SAME_BOXES * agreement.boxes else f"boxes differ: {agreement.line()}"
