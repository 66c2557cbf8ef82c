"""Detection heads and non-maximum suppression in plain numpy: what the compiled program must equal, box for box.

The semantics are those of Ultralytics' ``non_max_suppression`` with one label a box, on the arithmetic of torchvision's
``nms``:

- yolov5 rows whose objectness is not above ``conf`` are dropped; a score is objectness times class probability;
- a box's class is its best one, the first of equals; NaN is no score, and a box that is not finite is no box;
- candidates have scores above ``conf``; they are taken best first, the lower row first among equals;
- of two boxes of one class (of any, if agnostic) whose intersection over union is above ``iou`` the better stays.
  Ultralytics gets "of one class" by adding 7680 times the class to the coordinates, which costs precision; here
  classes are compared.

Standard library and numpy only; Python 3.8.
"""

from typing import List, Optional, Sequence, Tuple

import numpy as np

Detections = Tuple[np.ndarray, np.ndarray, np.ndarray]

YOLOX_STRIDES = (8, 16, 32)


def decode(
    raw: np.ndarray, head: str, input_size: Optional[Tuple[int, int]] = None, strides: Sequence[int] = YOLOX_STRIDES
) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One frame's raw output as boxes in model-input pixels, scores and objectness.

    Parameters
    ----------
    raw : array
        float32, without the batch axis: yolov5 and yolox ``(n, 5 + classes)``, yolov8 ``(4 + classes, n)``, end2end
        ``(n, 6)``.
    head : str
        One of ``specs.HEADS``.
    input_size : (height, width)
        Of the model's input in pixels; only yolox needs it.
    strides : sequence of int
        Pixels a cell of each yolox level, in the order of its rows.

    Returns
    -------
    tuple of arrays
        xyxy ``(n, 4)`` float32, scores ``(n, classes)`` float32, objectness ``(n,)`` float32. For end2end the scores
        have one column and the objectness is the class.
    """
    raw = np.asarray(raw, dtype=np.float32)
    if head == "yolov8":
        raw = raw.T
        return _xyxy(raw[:, :4]), raw[:, 4:], np.ones(len(raw), np.float32)
    if head == "end2end":
        return raw[:, :4], raw[:, 4:5], raw[:, 5]
    xywh = raw[:, :4]
    if head == "yolox":
        xywh = _yolox_grid(xywh, input_size, strides)
    with np.errstate(invalid="ignore", over="ignore"):
        return _xyxy(xywh), raw[:, 4:5] * raw[:, 5:], raw[:, 4]


def detect(
    raw: np.ndarray,
    head: str,
    conf: float = 0.25,
    iou: float = 0.45,
    max_det: int = 300,
    class_agnostic: bool = False,
    max_candidates: int = 30000,
    input_size: Optional[Tuple[int, int]] = None,
    strides: Sequence[int] = YOLOX_STRIDES,
) -> Detections:
    """Detections of one frame's raw output (see ``decode``), best first, in model-input pixels.

    Returns
    -------
    tuple of arrays
        boxes ``(n, 4)`` float32 xyxy, scores ``(n,)`` float32, classes ``(n,)`` int32; ``n <= max_det``.
    """
    boxes, scores, objectness = decode(raw, head, input_size, strides)
    conf = np.float32(conf)
    with np.errstate(invalid="ignore"):
        if head == "end2end":
            classes, best = objectness, scores[:, 0]
            candidate = (best > conf) & (classes >= 0) & (classes <= 1 << 24)  # beyond, float32 is no index
        else:
            scores = np.where(np.isnan(scores), np.float32(-np.inf), scores)
            classes = scores.argmax(axis=1)
            best = scores[np.arange(len(scores)), classes]
            candidate = (objectness > conf) & (best > conf)
    candidate &= np.isfinite(boxes).all(axis=1)
    rows = np.flatnonzero(candidate)
    rows = rows[np.argsort(-best[rows], kind="stable")][:max_candidates]
    boxes, best, classes = boxes[rows], best[rows], classes[rows].astype(np.int32)
    if head == "end2end":
        keep = list(range(min(len(rows), max_det)))
    else:
        keep = suppress(boxes, np.zeros_like(classes) if class_agnostic else classes, iou, max_det)
    return boxes[keep], best[keep], classes[keep]


def suppress(boxes: np.ndarray, groups: np.ndarray, iou: float, max_det: int) -> List[int]:
    """Indices of the boxes (float32 xyxy, best first) that no kept one of their group overlaps by more than ``iou``."""
    with np.errstate(over="ignore"):
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    keep: List[int] = []
    for i in range(len(boxes)):
        if len(keep) == max_det:
            break
        rivals = [k for k in keep if groups[k] == groups[i]]
        if not (_overlaps(boxes[i], areas[i], boxes[rivals], areas[rivals]).astype(np.float64) > iou).any():
            keep.append(i)
    return keep


def _overlaps(box: np.ndarray, area: np.ndarray, others: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """Intersection over union in float32, operation for operation torchvision's ``nms_kernel_impl``."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        width = np.maximum(np.float32(0), np.minimum(box[2], others[:, 2]) - np.maximum(box[0], others[:, 0]))
        height = np.maximum(np.float32(0), np.minimum(box[3], others[:, 3]) - np.maximum(box[1], others[:, 1]))
        inter = width * height
        return inter / (area + areas - inter)


def _xyxy(xywh: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", over="ignore"):
        half = xywh[:, 2:4] * np.float32(0.5)
        return np.concatenate([xywh[:, :2] - half, xywh[:, :2] + half], axis=1)


def _yolox_grid(xywh: np.ndarray, input_size: Optional[Tuple[int, int]], strides: Sequence[int]) -> np.ndarray:
    """``YOLOXHead.decode_outputs`` (Megvii YOLOX): ``(xy + cell) * stride``, ``exp(wh) * stride``."""
    if input_size is None:
        raise ValueError("a yolox head is decoded with the model input's (height, width); input_size is None")
    cells, scale = [], []
    for stride in strides:
        height, width = input_size[0] // stride, input_size[1] // stride
        x, y = np.meshgrid(np.arange(width), np.arange(height))
        cells.append(np.stack([x.ravel(), y.ravel()], axis=1))
        scale.append(np.full((height * width, 1), stride))
    cell, stride = np.concatenate(cells).astype(np.float32), np.concatenate(scale).astype(np.float32)
    with np.errstate(over="ignore"):
        return np.concatenate([(xywh[:, :2] + cell) * stride, np.exp(xywh[:, 2:4]) * stride], axis=1)
