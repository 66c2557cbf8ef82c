"""A pool of scenes on disk, drawn once by several processes, so that training never waits for a pencil."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import List, NamedTuple

import cv2
import numpy as np

from .scene import Scene


class Pool(NamedTuple):
    """uint8 pictures (n, rows, columns, 3) BGR, memory-mapped; a target (k, 5) each: class, x1, y1, x2, y2."""

    pictures: np.ndarray
    targets: List[np.ndarray]


def draw_one(seed, rows: int, columns: int):
    """Picture and target array of the scene with this seed (an int or a list of ints)."""
    picture, boxes, labels = Scene(np.random.default_rng(seed)).render(rows, columns)
    return picture, np.column_stack([labels.astype(np.float32), boxes]).astype(np.float32)


def _draw_range(path: str, seed: int, first: int, last: int) -> List[np.ndarray]:
    cv2.setNumThreads(1)
    pictures = np.load(path, mmap_mode="r+")
    targets = []
    for i in range(first, last):
        pictures[i], target = draw_one([seed, i], *pictures.shape[1:3])
        targets.append(target)
    pictures.flush()
    return targets


def draw_pool(folder: Path, name: str, seed: int, count: int, rows: int, columns: int, workers: int = 2) -> Pool:
    """Draw ``count`` scenes, seeds [seed, 0] to [seed, count - 1]; what is drawn already is only read."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{name}-{seed}-{count}-{columns}x{rows}"
    pictures_path, targets_path = folder / f"{stem}.npy", folder / f"{stem}.npz"
    if not targets_path.exists():
        np.lib.format.open_memmap(str(pictures_path), "w+", np.uint8, (count, rows, columns, 3)).flush()
        step = max(min(count // workers, 100), 1)
        firsts = range(0, count, step)
        with ProcessPoolExecutor(workers, get_context("spawn")) as executor:  # OpenCV's threads do not survive a fork
            jobs = [executor.submit(_draw_range, str(pictures_path), seed, i, min(i + step, count)) for i in firsts]
            targets = [target for job in jobs for target in job.result()]
        lengths = np.array([len(t) for t in targets])
        np.savez(targets_path, targets=np.concatenate(targets), lengths=lengths)
    stored = np.load(targets_path)
    targets = np.split(stored["targets"], np.cumsum(stored["lengths"])[:-1])
    return Pool(np.load(pictures_path, mmap_mode="r"), targets)
