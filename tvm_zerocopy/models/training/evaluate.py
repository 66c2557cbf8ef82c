"""Mean average precision of an ONNX detector on scenes it has not seen, through onnxruntime and plain numpy."""

from typing import Dict, List

import cv2
import numpy as np
import onnxruntime

from .pool import Pool
from .scene import CLASSES

IOUS = np.arange(0.5, 0.96, 0.05)


def letterbox(picture: np.ndarray, rows: int, columns: int):
    """Picture scaled to fit and padded with 114, as Ultralytics does it; the scale and the padding (left, top)."""
    h, w = picture.shape[:2]
    scale = min(rows / h, columns / w)
    new_w, new_h = round(w * scale), round(h * scale)
    left, top = round((columns - new_w) / 2 - 0.1), round((rows - new_h) / 2 - 0.1)
    resized = cv2.resize(picture, (new_w, new_h), interpolation=cv2.INTER_LINEAR)
    padded = np.full((rows, columns, 3), 114, np.uint8)
    padded[top : top + new_h, left : left + new_w] = resized
    return padded, scale, (left, top)


def iou_matrix(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU of boxes xyxy, (n, 4) with (m, 4)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.clip(high - low, 0, None).prod(2)
    area_a, area_b = (a[:, 2:] - a[:, :2]).prod(1), (b[:, 2:] - b[:, :2]).prod(1)
    return inter / np.maximum(area_a[:, None] + area_b[None] - inter, 1e-9)


def nms(output: np.ndarray, conf: float, iou: float, max_det: int = 300) -> np.ndarray:
    """YOLOv5 output (boxes, 5 + classes) -> (n, 6) x1, y1, x2, y2, score, class; class-aware, best first."""
    scores = output[:, 5:] * output[:, 4:5]
    row, label = np.nonzero(scores > conf)
    score = scores[row, label]
    order = np.argsort(-score, kind="stable")[:3000]
    row, label, score = row[order], label[order], score[order]
    centre, size = output[row, :2], output[row, 2:4]
    boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
    alive, kept = np.ones(len(boxes), bool), []
    for i in range(len(boxes)):
        if not alive[i]:
            continue
        kept.append(i)
        if len(kept) == max_det:
            break
        same = np.nonzero(alive[i + 1 :] & (label[i + 1 :] == label[i]))[0] + i + 1
        alive[same[iou_matrix(boxes[i : i + 1], boxes[same])[0] > iou]] = False
    return np.column_stack([boxes[kept], score[kept], label[kept]])


class Detector:
    """An ONNX model through onnxruntime: picture BGR uint8 -> (n, 6) in the picture's pixels."""

    def __init__(self, model: bytes, threads: int = 2):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]

    def __call__(self, picture: np.ndarray, conf: float = 0.25, iou: float = 0.45) -> np.ndarray:
        rows, columns = self.input.shape[2:]
        padded, scale, (left, top) = letterbox(picture, rows, columns)
        tensor = np.ascontiguousarray(padded[..., ::-1].transpose(2, 0, 1)[None], np.float32) / 255
        found = nms(self.session.run(None, {self.input.name: tensor})[0][0], conf, iou)
        found[:, :4] = (found[:, :4] - np.array([left, top, left, top])) / scale
        h, w = picture.shape[:2]
        found[:, :4] = np.clip(found[:, :4], 0, [w, h, w, h])
        return found


def average_precision(matched: np.ndarray, scores: np.ndarray, truths: int) -> float:
    """Area under the precision envelope, read at 101 recalls as COCO does."""
    if not truths:
        return float("nan")
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(matched[order])
    recall, precision = hits / truths, hits / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, np.linspace(0, 1, 101), side="left")
    return float(np.mean(np.append(envelope, 0.0)[at]))


def match_detections(found: np.ndarray, target: np.ndarray) -> np.ndarray:
    """For each detection (best first) and each IoU of ``IOUS``: whether it takes a truth that none before it took."""
    matched = np.zeros((len(found), len(IOUS)), bool)
    if not len(found) or not len(target):
        return matched
    overlap = iou_matrix(found[:, :4], target[:, 1:])
    overlap[found[:, 5][:, None] != target[None, :, 0]] = 0
    for k, threshold in enumerate(IOUS):
        free = np.ones(len(target), bool)
        for i in range(len(found)):
            candidates = np.where(free, overlap[i], 0)
            best = candidates.argmax()
            if candidates[best] >= threshold:
                matched[i, k], free[best] = True, False
    return matched


def evaluate(model: bytes, pool: Pool, conf: float = 0.001, iou: float = 0.6) -> Dict:
    """mAP@0.5, mAP@0.5:0.95 and the AP@0.5 of each class on a pool of scenes."""
    detector = Detector(model)
    matched: List[np.ndarray] = []
    scores, labels = [], []
    for picture, target in zip(pool.pictures, pool.targets):
        found = detector(picture, conf, iou)
        matched.append(match_detections(found, target))
        scores.append(found[:, 4])
        labels.append(found[:, 5])
    matched, scores, labels = np.concatenate(matched), np.concatenate(scores), np.concatenate(labels)
    truths = np.concatenate(pool.targets)[:, 0]
    table = np.array(
        [
            [
                average_precision(matched[labels == c, k], scores[labels == c], int((truths == c).sum()))
                for k in range(len(IOUS))
            ]
            for c in range(len(CLASSES))
        ]
    )
    return {
        "mAP@0.5": round(float(np.nanmean(table[:, 0])), 4),
        "mAP@0.5:0.95": round(float(np.nanmean(table)), 4),
        "AP@0.5": {name: round(float(ap), 4) for name, ap in zip(CLASSES, table[:, 0])},
        "pictures": len(pool.targets),
        "objects": int(len(truths)),
    }
