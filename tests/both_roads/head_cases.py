"""Detection heads, raw outputs that nobody chose, and how results are held against the numpy reference.

Shared by the tests of every head pass; needs no TVM.
"""

from dataclasses import dataclass
from typing import Optional, Tuple

import numpy as np
from hypothesis import strategies as st

import tvm_zerocopy as tz
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.reference import nms as reference

INPUT = (64, 96)  # height, width: 126 cells, 378 anchors


@dataclass(frozen=True)
class Config:
    """One compiled program."""

    nms: tz.Nms
    classes: int
    rows: int
    batch: int = 1
    frame: Optional[tz.Frame] = None
    preprocess: tz.Preprocess = tz.Preprocess()
    columns: bool = False  # main ends in a transpose of (batch, values, boxes)

    @property
    def raw_shape(self) -> Tuple[int, int, int]:
        if self.nms.head == "yolov8":
            return self.batch, 4 + self.classes, self.rows
        return self.batch, self.rows, 6 if self.nms.head == "end2end" else 5 + self.classes


CONFIGS = {
    "yolov5": Config(tz.Nms(0.25, 0.45, max_det=20, head="yolov5"), classes=80, rows=378),
    "yolov5 one class": Config(tz.Nms(0.0, 0.5, max_det=400, head="yolov5"), classes=1, rows=378),
    "yolov5 few candidates": Config(
        tz.Nms(0.1, 0.7, max_det=30, head="yolov5", max_candidates=50), classes=17, rows=378, batch=2
    ),
    "yolov5 agnostic": Config(tz.Nms(0.25, 0.0, max_det=33, head="yolov5", class_agnostic=True), classes=3, rows=378),
    "yolov8": Config(tz.Nms(0.25, 0.45, max_det=20, head="yolov8"), classes=80, rows=126),
    "yolov8 one class": Config(tz.Nms(0.0, 1.0, max_det=126, head="yolov8"), classes=1, rows=126, batch=3),
    "yolov8 eleven rows": Config(tz.Nms(0.5, 0.3, max_det=5, head="yolov8"), classes=2, rows=11),
    "yolov8 agnostic": Config(
        tz.Nms(0.25, 0.6, max_det=30, head="yolov8", class_agnostic=True, max_candidates=40), classes=5, rows=1000
    ),
    "yolox": Config(tz.Nms(0.25, 0.45, max_det=20, head="yolox"), classes=20, rows=126),
    "yolox in columns": Config(tz.Nms(0.25, 0.45, max_det=20, head="yolox"), classes=20, rows=126, columns=True),
    "yolov5 in columns": Config(
        tz.Nms(0.1, 0.45, max_det=50, head="yolov5"), classes=33, rows=378, batch=2, columns=True
    ),
    "end2end": Config(tz.Nms(0.25, max_det=20, head="end2end"), classes=80, rows=100),
    "end2end one row": Config(tz.Nms(0.25, max_det=20, head="end2end"), classes=80, rows=1),
}

FRAMES = {
    "static": Config(tz.Nms(0.25, 0.45, 40, "yolov5"), classes=3, rows=378, frame=tz.Frame("bgr8", 120, 77)),
    "any size": Config(tz.Nms(0.25, 0.45, 40, "yolov5"), classes=3, rows=378, frame=tz.Frame("bgr8")),
    "any size, nv12": Config(tz.Nms(0.25, 0.45, 40, "yolov5"), classes=3, rows=378, frame=tz.Frame("nv12")),
    "any size, top left": Config(
        tz.Nms(0.25, 0.45, 40, "yolox"), classes=3, rows=126, frame=tz.Frame("bgr8"), preprocess=tz.Preprocess.yolox()
    ),
    "any size, never larger": Config(
        tz.Nms(0.25, 0.45, 40, "yolov8"), 3, 126, frame=tz.Frame("bgr8"), preprocess=tz.Preprocess(scaleup=False)
    ),
    "any size, stretch": Config(
        tz.Nms(0.25, 0.45, 40, "yolov8"), 3, 126, frame=tz.Frame("bgr8"), preprocess=tz.Preprocess(resize="stretch")
    ),
}

SCENES = {
    "seed": st.integers(0, 2**32 - 1),
    "overlap": st.sampled_from(["scattered", "clusters", "same"]),
    "scores": st.sampled_from(["ties", "fine", "all high", "none"]),
    "odd": st.booleans(),
}


def raw_output(config: Config, seed: int, overlap: str, scores: str, odd: bool) -> np.ndarray:
    """A raw output of the config's head: where boxes are, how scores are spread, and values that are no numbers."""
    rng = np.random.default_rng(seed)
    shape = (config.batch, config.rows)
    spread = {"scattered": 90.0, "clusters": 6.0, "same": 0.0}[overlap]
    centre = rng.integers(0, 3, (*shape, 2)) * 30.0 + 10 + rng.uniform(-0.5, 0.5, (*shape, 2)) * spread
    sizes = rng.choice([0.0, 1.0, 8.0, 13.5, 40.0], (*shape, 2)) if overlap != "same" else np.full((*shape, 2), 16.0)
    levels = {"ties": 4, "fine": 1000, "all high": 1000, "none": 1000}[scores]
    probability = rng.integers(0, levels + 1, (*shape, max(config.classes, 1))) / levels
    objectness = rng.integers(0, levels + 1, (*shape, 1)) / levels
    if scores == "all high":
        probability, objectness = 0.9 + probability / 10, 0.9 + objectness / 10
    if scores == "none":
        probability, objectness = probability * 0, objectness * 0
    head = config.nms.head
    if head == "yolox":
        centre, sizes = centre / 16 - 3, np.log(np.maximum(sizes, 0.5) / 8)
    if head == "end2end":
        labels = rng.integers(0, config.classes, (*shape, 1))
        raw = np.concatenate([centre - sizes / 2, centre + sizes / 2, objectness, labels], axis=2)
    else:
        raw = np.concatenate([centre, sizes, *([] if head == "yolov8" else [objectness]), probability], axis=2)
    if odd:
        flat = raw.reshape(-1)
        at = rng.integers(0, flat.size, 1 + flat.size // 100)
        flat[at] = rng.choice([np.nan, np.inf, -np.inf, -1.0, 3e38], at.size)
    return np.ascontiguousarray(raw.transpose(0, 2, 1) if head == "yolov8" else raw, dtype=np.float32)


def threshold(scores) -> float:
    """A ``conf`` that half to nine tenths of the scores lie under, in their widest gap: rounding decides nothing."""
    scores = np.sort(np.ravel(scores).astype(float))
    upper = scores[len(scores) // 2 : len(scores) * 9 // 10]
    at = np.argmax(np.diff(upper))
    return float(upper[at] + upper[at + 1]) / 2


def expected(config: Config, raw: np.ndarray):
    nms = config.nms
    return reference.detect(
        raw, nms.head, nms.conf, nms.iou, nms.max_det, nms.class_agnostic, nms.max_candidates, input_size=INPUT
    )


def check_padding(outputs, count: int, index: int):
    boxes, scores, classes, _ = outputs
    assert not boxes[index, count:].any() and not scores[index, count:].any()
    assert (classes[index, count:] == -1).all()


def check_equals_reference(config: Config, raw: np.ndarray, outputs):
    """The outputs are the reference's detections of ``raw``, in model-input pixels."""
    assert [o.dtype for o in outputs] == ["float32", "float32", "int32", "int32"]
    for b in range(config.batch):
        boxes, scores, classes = expected(config, raw[b])
        count = int(outputs[3][b])
        assert count == len(boxes)
        assert np.array_equal(outputs[2][b, :count], classes)
        assert np.array_equal(outputs[1][b, :count], scores)
        if config.nms.head == "yolox":  # exponentials differ in the last bit
            np.testing.assert_allclose(outputs[0][b, :count], boxes, rtol=1e-5, atol=1e-4)
        else:
            assert np.array_equal(outputs[0][b, :count], boxes)
        check_padding(outputs, count, b)


def check_is_in_frame_pixels(config: Config, raw: np.ndarray, outputs, height: int, width: int):
    """The outputs are the reference's detections of ``raw``, in pixels of a ``height`` x ``width`` frame."""
    boxes, scores, classes = expected(config, raw[0])
    geometry = letterbox(height, width, *INPUT, config.preprocess)
    boxes = np.reshape(unletterbox_boxes(boxes.astype(float), geometry, height, width), (-1, 4))
    count = int(outputs[3][0])
    assert count == len(boxes)
    assert np.array_equal(outputs[2][0, :count], classes) and np.array_equal(outputs[1][0, :count], scores)
    np.testing.assert_allclose(outputs[0][0, :count], boxes, rtol=1e-5, atol=1e-3)
    assert (outputs[0][0] >= 0).all() and (outputs[0][0] <= [width, height, width, height]).all()
    check_padding(outputs, count, 0)
