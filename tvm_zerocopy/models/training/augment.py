"""Training batches from a pool of scenes: cut, moved, scaled, mirrored and recolored."""

import cv2
import numpy as np
import torch

from .pool import Pool
from .scene import CLASSES

_TEXT = CLASSES.index("stop sign")  # its letters must not be mirrored
PAD = 114
MIN_KEPT = 0.3  # of a box's area; what a cut leaves less of has no box
MIN_SIDE = 5  # pixels


def augmented(picture: np.ndarray, target: np.ndarray, rng, rows: int, columns: int):
    """One picture at the network's size, and its target (k, 5): class, cx, cy, w, h as fractions."""
    h, w = picture.shape[:2]
    scale = min(rows / h, columns / w) * np.exp(rng.uniform(np.log(0.7), np.log(1.5)))
    mirror = rng.random() < 0.5 and not (target[:, 0] == _TEXT).any()
    sx = -scale if mirror else scale
    free = np.array([columns - w * scale, rows - h * scale])
    move = free * rng.uniform(0, 1, 2)
    matrix = np.array([[sx, 0, move[0] + (w * scale if mirror else 0)], [0, scale, move[1]]])
    # half-pixel centres, as cv2.resize has them
    matrix[:, 2] += 0.5 * np.array([sx, scale]) - 0.5
    interpolation = cv2.INTER_LINEAR if rng.random() < 0.8 or scale > 1 else cv2.INTER_NEAREST
    out = cv2.warpAffine(picture, matrix, (columns, rows), flags=interpolation, borderValue=(PAD,) * 3)
    out = _recolor(out, rng)
    x = target[:, [1, 3]] * sx + move[0] + (w * scale if mirror else 0)
    y = target[:, [2, 4]] * scale + move[1]
    whole = np.abs(x[:, 1] - x[:, 0]) * np.abs(y[:, 1] - y[:, 0])
    x, y = np.sort(np.clip(x, 0, columns), 1), np.sort(np.clip(y, 0, rows), 1)
    bw, bh = x[:, 1] - x[:, 0], y[:, 1] - y[:, 0]
    keep = (bw * bh > MIN_KEPT * whole) & (np.maximum(bw, bh) >= MIN_SIDE) & (np.minimum(bw, bh) >= 2)
    boxes = np.stack([x.mean(1) / columns, y.mean(1) / rows, bw / columns, bh / rows], 1)
    return out, np.column_stack([target[:, 0], boxes])[keep].astype(np.float32)


def _recolor(picture: np.ndarray, rng) -> np.ndarray:
    if rng.random() < 0.08:
        return cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    level = np.arange(256, dtype=np.float64)[:, None]
    gain = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.05, 3))
    table = 255 * (level / 255) ** np.exp(rng.normal(0, 0.15)) * gain + rng.normal(0, 6)
    return cv2.LUT(picture, np.clip(table, 0, 255).astype(np.uint8)[None])


def batch(pool: Pool, indices, rng, rows: int, columns: int):
    """Images float32 (n, 3, rows, columns) RGB 0..1, channels last; targets (k, 6), first the picture's index."""
    pictures = np.empty((len(indices), rows, columns, 3), np.uint8)
    targets = []
    for i, index in enumerate(indices):
        picture, target = augmented(pool.pictures[index], pool.targets[index], rng, rows, columns)
        pictures[i] = picture[..., ::-1]
        targets.append(np.column_stack([np.full(len(target), i, np.float32), target]))
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
    return images, torch.from_numpy(np.concatenate(targets))
