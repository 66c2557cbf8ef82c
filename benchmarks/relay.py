"""YOLOv5s on a TVM build with Relay: the usual way around stock ``relay.build`` against this package, frame to boxes.

    python benchmarks/relay.py
    python benchmarks/relay.py --tuning-log tuning/yolov5s --iterations 50 --json relay.json

Four contenders in one process, in turns: stock and ours, each with TVM's own schedules and with a tuning log (the
published one for this CPU, or ``--tuning-log``). "stock" is OpenCV's letterbox and ``blobFromImage``, ``set_input``,
GraphExecutor, ``get_output``, then decode in numpy and OpenCV's NMS; "ours" is a bound engine. Random weights: the
arithmetic is that of trained ones. The boxes of all are held against each other before anything is timed.
"""

import argparse
import contextlib
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import tvm
from box_scores import best_first
from tvm import relay
from tvm.contrib import graph_executor

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.cli.common import json_lines
from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.threads import use_available_cpus
from tvm_zerocopy.tuning import catalog
from tvm_zerocopy.tuning.relay.published import Tuned, from_folder

SIZE, FRAME = (640, 640), (1080, 1920)  # height, width of the model's input and of the frame
BOXES = 100  # candidates in a frame, about


class Stock:
    """What tutorials show: OpenCV in front, ``relay.build``, numpy behind."""

    def __init__(self, model, log, conf):
        target = resolve_target("llvm")
        module = import_onnx(model).module
        tuned = from_folder(log, target) if log else Tuned()
        with tvm.transform.PassContext(opt_level=3), tuned.applied():
            built = relay.build(module, target)
        self.name = module["main"].params[0].name_hint
        self.executor = graph_executor.GraphModule(built["default"](tvm.cpu()))
        self.geometry, self.conf = letterbox(*FRAME, *SIZE, tz.Preprocess()), conf

    def __call__(self, frame):
        import cv2

        g = self.geometry
        picture = cv2.resize(frame, (g.new_width, g.new_height), interpolation=cv2.INTER_LINEAR)
        below, right = SIZE[0] - g.new_height - g.top, SIZE[1] - g.new_width - g.left
        picture = cv2.copyMakeBorder(picture, g.top, below, g.left, right, cv2.BORDER_CONSTANT, value=(114,) * 3)
        self.executor.set_input(self.name, cv2.dnn.blobFromImage(picture, 1 / 255, swapRB=True))
        self.executor.run()
        raw = self.executor.get_output(0).numpy()[0]
        keep = raw[:, 4] > self.conf
        every = raw[keep, 5:] * raw[keep, 4:5]
        classes, scores = every.argmax(axis=1), every.max(axis=1)
        half = raw[keep, 2:4] / 2
        boxes = np.concatenate([raw[keep, :2] - half, raw[keep, :2] + half], axis=1)[scores > self.conf]
        classes, scores = classes[scores > self.conf], scores[scores > self.conf]
        xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1).astype(np.float64)
        kept = np.asarray(cv2.dnn.NMSBoxesBatched(xywh, scores, classes, self.conf, 0.45), np.int64)[:300]
        xyxy = np.reshape(unletterbox_boxes(boxes[kept].astype(float), g, *FRAME), (-1, 4))
        return xyxy, scores[kept], classes[kept]


class Ours:
    """A bound engine."""

    def __init__(self, model, log, conf):
        frame = tz.Frame("bgr8", *FRAME)
        names = [str(number) for number in range(80)]
        self.engine = tz.compile(model, frame=frame, postprocess=tz.Nms(conf=conf), tuning_log=log, names=names)
        self.bound = None

    def __call__(self, frame):
        if self.bound is None:
            self.bound = self.engine.bind(input=frame)
        self.bound.run()
        found = self.bound.detections()
        return found.boxes, found.scores, found.classes


def conf_for(model, frame):
    """A score that about `BOXES` boxes of the frame pass, between two that are far apart; and the stock contender."""
    raw = Stock(model, None, 1.0)
    raw(frame)
    best = best_first(raw.executor.get_output(0).numpy()[0], "yolov5", SIZE)[BOXES // 2 : BOXES * 2]
    at = int(np.argmax(best[:-1] - best[1:]))
    return float((best[at] + best[at + 1]) / 2), raw


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--tuning-log", metavar="DIR", help="of tune yolov5s.onnx --tuner autotvm, ansor or metaschedule"
    )
    parser.add_argument("--iterations", type=int, default=30)
    parser.add_argument("--json", metavar="FILE|-")
    args = parser.parse_args()
    threads = use_available_cpus()
    frame = np.random.default_rng(0).integers(0, 256, (*FRAME, 3), np.uint8)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(sys.stderr):
        path = str(Path(folder) / "yolov5s.onnx")
        onnx.save(models.build("yolov5s"), path)
        conf, stock = conf_for(path, frame)
        stock.conf = conf
        untuned = Path(folder) / "autotvm.log"  # without a record; None would be the published log
        untuned.touch()
        contenders = {"stock": stock, "ours": Ours(path, untuned, conf)}
        log = args.tuning_log or next(iter(catalog.suitable(resolve_target("llvm"), "autotvm")[0]), None)
        if log is not None:
            contenders["stock, tuned"] = Stock(path, log, conf)
            contenders["ours, tuned"] = Ours(path, log, conf)
    found = {name: contender(frame) for name, contender in contenders.items()}
    _agree(found)
    samples = {name: [] for name in contenders}
    order = list(contenders)
    for turn in range(args.iterations + 3):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            begin = time.perf_counter()
            contenders[name](frame)
            samples[name].append(time.perf_counter() - begin)
    medians = {name: statistics.median(times[3:]) * 1e3 for name, times in samples.items()}
    with json_lines(args.json) as write:
        write({"tvm": tvm.__version__, "threads": threads, "iterations": args.iterations, "median_ms": medians})
    for name, ms in medians.items():
        ratio = f"{ms / medians['stock']:.2f} of stock"
        print(f"{name:13} {ms:7.1f} ms a frame, {ratio}", file=sys.stderr if args.json == "-" else sys.stdout)
    return 0


def _agree(found) -> None:
    """Every contender's boxes are those of stock."""
    boxes, scores, classes = found["stock"]
    print(f"{len(boxes)} boxes", file=sys.stderr)
    for name, (theirs, their_scores, their_classes) in found.items():
        same = len(theirs) == len(boxes) and np.array_equal(classes, their_classes)
        if not (same and np.allclose(boxes, theirs, atol=0.5) and np.allclose(scores, their_scores, atol=1e-3)):
            raise SystemExit(f"error: the boxes of {name} are not those of stock")


if __name__ == "__main__":
    sys.exit(main())
