"""This project on a CUDA GPU, from an NV12 frame to boxes: first right, then timed, beside PyTorch in one run.

    python benchmarks/gpu.py
    python benchmarks/gpu.py yolov5s --precision float16 --iterations 200 --json gpu.json
    python benchmarks/gpu.py --write-sm72 sm72/                           # on a machine with CUDA 12, no GPU needed
    python benchmarks/gpu.py --sm72 sm72/                                 # on one with a GPU and CUDA 13

Needs a GPU, ``pip install -e '.[cuda]' onnxruntime`` and a CUDA compiler that knows the GPU; for the comparison
torch, and torchvision for its NMS.

Right (`on_gpu/checks.py`): every kernel against its own plain loops or the numpy references, raw outputs against
onnxruntime, natively and as PTX for compute_72 (what Jetson AGX Xavier would run), boxes from every kind of memory
against numpy's NMS and this project on the CPU. A failure ends the run.
Timed (`on_gpu/measure.py`): CUDA events around replays of captured graphs, medians, what is compared in turns:

- preprocessing, and a copy of the bytes that it moves, both over more memory than L2 holds;
- the network from its image in device memory to raw outputs;
- frame to boxes (ResNet: to logits) from device, pinned (mapped into the device) and managed memory. The threshold is
  one that some 300 boxes pass, so that NMS has its usual work in spite of random weights.

PyTorch's (`on_gpu/torch_pipelines.py`): the fastest of all its ways. Goals: preprocessing at 70% of the copy's
bandwidth, the network in at most PyTorch's time, frame to boxes in at most 0.7 of it.

This script has not been run on a GPU yet; no figure comes from it.
"""

from __future__ import annotations

import argparse
import datetime
import json
import sys
import warnings
from pathlib import Path

try:
    import numpy as np
    import tvm
    from on_gpu import checks
    from on_gpu.measure import KINDS, measure
    from on_gpu.work import MODELS, Work

    import tvm_zerocopy as tz
    from tvm_zerocopy.buffers import cuda
    from tvm_zerocopy.errors import UnsupportedError, ZeroCopyError, ZeroCopyWarning
except ModuleNotFoundError as missing:
    sys.exit(f"error: {missing}; pip install -e '.[cuda]' onnxruntime (for the comparison torch, torchvision too)")

COMPILE_MODE = "max-autotune-no-cudagraphs"  # graphs are captured around what it makes
PRECISIONS = ("float32", "float16")
GOALS = {"preprocess": 0.7, "network": 1.0, "frame": 0.7}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: all")
    parser.add_argument("--frame", type=_size, default=(1920, 1080), metavar="WIDTHxHEIGHT", help="default: 1920x1080")
    parser.add_argument("--size", type=int, help="pixels a side of the network's input; default: 640, ResNet 224")
    parser.add_argument("--iterations", type=int, default=100, help="default: 100")
    parser.add_argument("--seed", type=int, help="of the inputs; default: new ones each time")
    parser.add_argument("--compile-mode", default=COMPILE_MODE, help=f"of torch.compile; default: {COMPILE_MODE}")
    parser.add_argument("--sm72", type=Path, metavar="FOLDER", help="artifacts that --write-sm72 made elsewhere")
    parser.add_argument("--write-sm72", type=Path, metavar="FOLDER", help="make them, and nothing else")
    parser.add_argument("--json", help="file for the figures")
    args = parser.parse_args(arguments)
    unknown = [name for name in args.models if name not in MODELS]
    if unknown:
        parser.error(f"{unknown[0]} is not compared; there are {', '.join(MODELS)}")
    warnings.simplefilter("ignore", ZeroCopyWarning)
    try:
        return _write_sm72(args) if args.write_sm72 else _run(args)
    except ZeroCopyError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _size(text: str) -> tuple[int, int]:
    width, height = map(int, text.split("x"))
    return width, height


def _works(args, arch: str):
    width, height = args.frame
    frame = tz.Frame("nv12", height=height, width=width)
    return [
        Work(name, args.size, frame, precision, arch)
        for name in args.models
        for precision in args.precision or PRECISIONS
    ]


def _write_sm72(args) -> int:
    args.write_sm72.mkdir(parents=True, exist_ok=True)
    for work in _works(args, "sm_72"):
        print(checks.write_sm_72(work, args.write_sm72))
    return 0


def _run(args) -> int:
    device, random = describe_device(), np.random.default_rng(args.seed)
    print(f"{device['name']}, {device['arch']}, {device['date']}")
    works, rows = _works(args, device["arch"]), []
    errors = checks.check_preprocess(works[0], random)
    print(f"preprocessing right on {', '.join(errors)} frames: largest difference {max(errors.values()):.1e} levels")
    compared = checks.check_heads(device["arch"], random)
    print("decode and NMS right: " + ", ".join(f"{count} boxes of {head} heads" for head, count in compared.items()))
    print(f"TopK right: {checks.check_sorting(device['arch'], random)} rows")
    for work in works:
        title = f"{work.name} {work.precision}"
        kernels = checks.check_kernels(work, random)
        print(f"{title}: {len(kernels)} kernels right, largest error {max(kernels.values()):.1e}")
        row = {"model": work.name, "precision": work.precision, "input": work.input_size, **_check(work, random, args)}
        row.update(measure(work, random, args.iterations, args.compile_mode))
        row["results"] = results(row["milliseconds"])
        rows.append(row)
        for line in table(row):
            print(f"{title}: {line}")
        if args.json:  # after each, so that nothing is lost
            text = {"device": device, "frame": args.frame, "iterations": args.iterations, "goals": GOALS, "rows": rows}
            Path(args.json).write_text(json.dumps(text, indent=1), encoding="utf-8")
    return 0


def describe_device() -> dict:
    """Name and architecture of the first GPU."""
    device = tvm.cuda(0)
    if not device.exist:
        raise ZeroCopyError("TVM sees no CUDA GPU; `tvm-zerocopy doctor` says why")
    today = datetime.date.today().isoformat()
    return {"name": str(device.device_name), "arch": cuda.runtime().arch(), "date": today}


def _check(work: Work, random, args) -> dict:
    found = {"raw_error": checks.check_raw_outputs(work, random)}
    try:
        found["sm_72_raw_error"] = checks.check_sm_72(work, random, args.sm72)
    except UnsupportedError as error:
        print(f"not run as PTX for compute_72: {error}", file=sys.stderr)
    if work.detects:
        found["boxes_found"] = checks.check_boxes(work, random, KINDS.values())
    print(f"{work.name} {work.precision}: right, {found}")
    return found


# --- results --------------------------------------------------------------------------------------------------------


def results(times: dict) -> dict:
    """What the goals are about: the share of the copy's bandwidth, and ours over PyTorch's fastest."""
    found = {"preprocess": {"share_of_copy_bandwidth": times["copy of the same bytes"] / times["ours, preprocess"]}}
    for part in ("network", *(f"frame, {name}" for name in KINDS)):
        ours = times[f"ours, {part}"]
        ways = {name: time for name, time in times.items() if name.startswith(f"PyTorch, {part}, ")}
        found[part] = {"ours_ms": ours}
        if ways:
            best = min(ways, key=ways.get)
            found[part].update(pytorch_ms=ways[best], pytorch_way=best, ratio=ours / ways[best])
    return found


def table(row: dict):
    """Lines of a row, each figure with its goal."""
    share = row["results"]["preprocess"]["share_of_copy_bandwidth"]
    microseconds = row["milliseconds"]["ours, preprocess"] * 1e3
    rate = row["moved_bytes"] / row["milliseconds"]["ours, preprocess"] / 1e6
    goal = GOALS["preprocess"]
    met = _goal(share >= goal, f">= {goal:.0%}")
    yield f"preprocess {microseconds:.1f} us, {rate:.0f} GB/s, {share:.0%} of a copy's {met}"
    for part, found in row["results"].items():
        if part == "preprocess":
            continue
        line = f"{part} {found['ours_ms']:.3f} ms"
        if "ratio" in found:
            goal = GOALS[part.split(",")[0]]
            met = _goal(found["ratio"] <= goal, f"<= {goal}x")
            line += f", PyTorch {found['pytorch_ms']:.3f} ms ({found['pytorch_way']}): {found['ratio']:.2f}x {met}"
        yield line


def _goal(met: bool, goal: str) -> str:
    return f"({'goal' if met else 'MISSED'}: {goal})"


if __name__ == "__main__":
    sys.exit(main())
