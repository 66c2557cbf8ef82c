"""Do two engines find the same? Box by box, or number by number for raw outputs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

LEAST_IOU = {False: 0.95, True: 0.8}  # by whether an engine computes in less than float32
MOST_SCORE = {False: 0.01, True: 0.08}
SAME_BOX = 0.1  # pixels; boxes at the frame's edge can be clipped to nothing
RAW_TOLERANCE = {False: 1e-3, True: 5e-2}  # of the reference's largest value


@dataclass(frozen=True)
class Agreement:
    """
    Attributes
    ----------
    reference : str
        The engine that it is compared with.
    boxes : int
        Of the reference, in all frames; 0 for raw outputs.
    matched : int
        Of those, found by the other engine too: same class, overlap at least `LEAST_IOU`, score within `MOST_SCORE`.
    extra : int
        Boxes of the other engine without a match.
    excused : int
        Unmatched boxes (either side) whose score is so near ``conf`` that rounding decides.
    least_iou, most_score : float
        Over the matches.
    agrees : bool or None
        None: there is nothing to compare.
    """

    reference: str
    boxes: int
    matched: int
    extra: int
    excused: int
    least_iou: float
    most_score: float
    agrees: bool | None

    def to_dict(self) -> dict:
        return {**asdict(self), "line": self.line()}

    def line(self) -> str:
        if self.agrees is None:
            return "no boxes to compare (lower --conf, or compare raw outputs with --raw)"
        if not self.boxes:
            return f"largest difference {self.most_score:.1e} of the range"
        more = f", {self.extra} more" if self.extra else ""
        return f"{self.matched}/{self.boxes}{more}, IoU >= {self.least_iou:.3f}, score +-{self.most_score:.4f}"


def compare_detections(reference: str, theirs: list, ours: list, conf: float, reduced: bool) -> Agreement:
    """``theirs`` and ``ours``: for each frame boxes (n, 4), scores (n,) and classes (n,)."""
    boxes = matched = extra = excused = 0
    least_iou, most_score = 1.0, 0.0
    for frame_a, frame_b in zip(theirs, ours):
        pairs = _pairs(frame_a, frame_b, LEAST_IOU[reduced], MOST_SCORE[reduced])
        boxes += len(frame_a[0])
        matched += len(pairs)
        extra += len(frame_b[0]) - len(pairs)
        for frame, side in ((frame_a, 0), (frame_b, 1)):
            alone = np.setdiff1d(np.arange(len(frame[1])), [pair[side] for pair in pairs])
            excused += int((frame[1][alone] - conf <= MOST_SCORE[reduced]).sum())
        for _, _, iou, score in pairs:
            least_iou, most_score = min(least_iou, iou), max(most_score, score)
    unmatched = boxes - matched + extra
    agrees = None if not boxes and not extra else matched > 0 and unmatched <= excused
    return Agreement(reference, boxes, matched, extra, excused, float(least_iou), float(most_score), agrees)


def compare_raw(reference: str, theirs: list, ours: list, reduced: bool) -> Agreement:
    """Raw outputs by their largest difference, as a part of the reference's range."""
    worst = 0.0
    for a, b in zip((part for frame in theirs for part in frame), (part for frame in ours for part in frame)):
        same_shape = a.shape == b.shape
        scale = float(np.ptp(a)) or 1.0
        worst = max(worst, float(np.abs(a - b).max()) / scale if same_shape else float("inf"))
    return Agreement(reference, 0, 0, 0, 0, 1.0, worst, worst <= RAW_TOLERANCE[reduced])


def _pairs(frame_a, frame_b, least_iou: float, most_score: float) -> list:
    """(index in a, index in b, overlap, score difference), the greatest overlaps first, each box once."""
    boxes_a, boxes_b = (np.asarray(frame[0], np.float64).reshape(-1, 4) for frame in (frame_a, frame_b))
    overlap = _iou(boxes_a, boxes_b)
    difference = np.abs(frame_a[1][:, None] - frame_b[1][None])
    fits = (frame_a[2][:, None] == frame_b[2][None]) & (overlap >= least_iou) & (difference <= most_score)
    rows, columns = np.nonzero(fits)
    order = np.argsort(-overlap[rows, columns], kind="stable")
    taken_a, taken_b, pairs = set(), set(), []
    for a, b in zip(rows[order].tolist(), columns[order].tolist()):
        if a not in taken_a and b not in taken_b:
            taken_a.add(a)
            taken_b.add(b)
            pairs.append((a, b, float(overlap[a, b]), float(difference[a, b])))
    return pairs


def _iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) overlaps of xyxy boxes; of two whose corners lie within `SAME_BOX` it is 1, even if they have no area."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    inter = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    union = area_a[:, None] + area_b[None] - inter
    same = (np.abs(a[:, None] - b[None]) <= SAME_BOX).all(axis=2)
    return np.where(same, 1.0, np.where(union > 0, inter / np.where(union > 0, union, 1), 0.0))
