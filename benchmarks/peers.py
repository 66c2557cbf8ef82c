"""This project and its peers on published architectures, one race a model, from a 1080p frame to the final boxes.

    python benchmarks/peers.py
    python benchmarks/peers.py yolov5s --iterations 30 --out results/

Random weights: the arithmetic is that of trained ones. ``conf`` is set for each model so that boxes are found and
engines' boxes can be held against each other. Arguments after ``--`` go to ``tvm-zerocopy bench``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import onnx
from box_scores import best_first

from tvm_zerocopy import models
from tvm_zerocopy.cli import main as command_line

MODELS = ("yolov5s", "yolov5n", "yolov8s", "yolov8n", "yolov10n", "yolo11n", "resnet18")
ENGINES = "ours,ours-bf16,onnxruntime,openvino,openvino-bf16,pytorch,pytorch-compile,tvm"
BOXES = 100  # candidates in a frame, about


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"default: {' '.join(MODELS)}")
    parser.add_argument("--engines", default=ENGINES)
    parser.add_argument("--iterations", type=int, default=60, help="frames of each engine (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="folder for MODEL.json and MODEL.png")
    words = sys.argv[1:]
    ours, more = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    args = parser.parse_args(ours)
    unknown = [name for name in args.models if name not in models.available()]
    if unknown:
        parser.error(f"there is no model {', '.join(unknown)}; there are {', '.join(models.available())}")
    if args.out is not None:
        args.out.mkdir(parents=True, exist_ok=True)
    codes = []
    with tempfile.TemporaryDirectory() as folder:
        for name in args.models:
            path = Path(folder) / f"{name}.onnx"
            proto = models.build(name)
            onnx.save(proto, path)
            words = ["bench", str(path), "--engines", args.engines, "--iterations", str(args.iterations), *more]
            words += ["--raw"] if name == "resnet18" else ["--conf", f"{conf_for(path):.6f}"]
            if args.out is not None:
                words += ["--json", str(args.out / f"{name}.json"), "--plot", str(args.out / f"{name}.png")]
            codes.append(command_line(words))
    return max(codes)


def conf_for(path: Path) -> float:
    """A score that about `BOXES` boxes of the first sample picture pass, by onnxruntime."""
    import onnxruntime

    from tvm_zerocopy.benching.prepare import sample_frames
    from tvm_zerocopy.reference import preprocess
    from tvm_zerocopy.specs import Frame, Preprocess

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (taken,) = session.get_inputs()
    size, head = tuple(taken.shape[2:]), head_of(path.stem)
    convention = Preprocess.yolox() if head == "yolox" else Preprocess()
    frames = sample_frames(Frame("bgr8"), count=1)
    (raw, *_) = session.run(None, {taken.name: preprocess(frames.arrays[0], frames.spec, convention, size)})
    best = best_first(raw[0], head, size)
    return float(best[min(BOXES, len(best) - 1)])


def head_of(name: str) -> str:
    """The head of one of this package's architectures, one of ``specs.HEADS``."""
    if name.startswith("yolov10"):
        return "end2end"
    return "yolov8" if name.startswith("yolo11") else name.partition("_")[0][:6]


if __name__ == "__main__":
    sys.exit(main())
