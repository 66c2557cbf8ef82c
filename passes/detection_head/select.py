"""The kernel after the filter: sort the candidates, suppress, move the boxes into the frame, fill the outputs."""

import math

import numpy as np

from .decode import four, store
from .loops import LANES
from .script import T, sblock

DIGIT_BITS = 11  # three digits hold a float32's 32 bits
DIGITS = 1 << DIGIT_BITS


def float32_below(value: float) -> float:
    """The largest float32 that is not above the value.

    ``x > float32_below(v)`` for a float32 ``x`` is exactly torchvision's ``x > v``, which compares in float64.
    """
    rounded = np.float32(value)
    return float(rounded if float(rounded) <= value else np.nextafter(rounded, np.float32(-math.inf)))


def digit(key, place):
    """One base-2048 digit of the key's score, counted so that greater scores come first."""
    shifted = T.Cast(
        "int32", T.bitwise_and(T.shift_right(key, T.uint64(32 + place * DIGIT_BITS)), T.uint64(DIGITS - 1))
    )
    return DIGITS - 1 - shifted


def select_detections(chunks, nms, loops, suppress=True, geometry=None):
    """Kernel ``(keys, counts, boxes, classes, [height, width], by_score, spare, digits, kept, kept_classes, ...)``.

    Candidates are as the filters write them. They are sorted by score, highest first and the lower row first among
    equals, with a radix sort: linear, and bounded by its workspaces ``by_score`` and ``spare`` (as ``keys``) and
    ``digits`` ``(batch, 3 * DIGITS)`` int32. Then each, while fewer than ``max_det`` are kept, is held against the
    kept boxes of its class (of any class if ``nms.class_agnostic``), so the work is at most ``max_det *
    max_candidates`` overlaps. Kept boxes live in ``kept`` ``(batch, 5, kept_capacity(max_det))`` float32 (x1, y1,
    x2, y2, area) and ``kept_classes`` int32. Outputs: boxes ``(batch, max_det, 4)`` float32, scores ``(batch,
    max_det)`` float32, classes ``(batch, max_det)`` int32 (-1 past the count), count ``(batch,)`` int32.

    The arithmetic is torchvision's (``nms_kernel_impl``): ``inter / (area_i + area_j - inter) > iou``, in float32.

    Parameters
    ----------
    chunks : Chunks
    nms : Nms
    loops : CpuLoops or GpuLoops
    suppress : bool
        False: the model has done it; only sort and cut.
    geometry : FrameGeometry or None
        How boxes get into frame pixels. Only if it is symbolic does the kernel take ``height`` and ``width``, int64.
    """
    batch, rows, size, count, capacity = chunks.batch, chunks.rows, chunks.size, chunks.count, chunks.capacity
    max_det, limit = nms.max_det, min(nms.max_candidates, chunks.rows)
    padded = kept_capacity(max_det)
    threshold = float32_below(nms.iou)

    def group(label):
        return 0 if nms.class_agnostic else label

    @T.prim_func(private=True, s_tir=True)
    def select(
        keys: T.Buffer((batch, capacity), "uint64"),
        counts: T.Buffer((batch, count), "int32"),
        boxes: T.Buffer((batch, rows, 4), "float32"),
        classes: T.Buffer((batch, rows), "int32"),
        height: T.int64,
        width: T.int64,
        by_score: T.Buffer((batch, capacity), "uint64"),
        spare: T.Buffer((batch, capacity), "uint64"),
        digits: T.Buffer((batch, 3 * DIGITS), "int32"),
        kept: T.Buffer((batch, 5, padded), "float32"),
        kept_classes: T.Buffer((batch, padded), "int32"),
        out_boxes: T.Buffer((batch, max_det, 4), "float32"),
        out_scores: T.Buffer((batch, max_det), "float32"),
        out_classes: T.Buffer((batch, max_det), "int32"),
        out_count: T.Buffer((batch,), "int32"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with sblock("root"):
            T.reads()
            T.writes()
            for b in loops.parallel(batch):
                at = T.alloc_buffer((4,), "int32", scope=loops.scope)  # candidate, kept, kept block, row
                total = T.alloc_buffer((1,), "int32", scope=loops.scope)
                start = T.alloc_buffer((2,), "int32", scope=loops.scope)
                box = T.alloc_buffer((4,), "float32", scope=loops.scope)
                area = T.alloc_buffer((1,), "float32", scope=loops.scope)
                ratio = T.alloc_buffer((LANES,), "float32", scope=loops.scope)
                hit = T.alloc_buffer((LANES,), "int32", scope=loops.scope)
                hits = T.alloc_buffer((1,), "int32", scope=loops.scope)

                # histograms of the three digits, then each digit's first place
                for d in T.serial(3 * DIGITS):
                    digits[b, d] = 0
                total[0] = 0
                for c in T.serial(count):
                    for j in T.serial(counts[b, c]):
                        for place in T.unroll(3):
                            digits[b, place * DIGITS + digit(keys[b, c * size + j], place)] += 1
                    total[0] = total[0] + counts[b, c]
                for place in T.serial(3):
                    start[0] = 0
                    for d in T.serial(DIGITS):
                        start[1] = digits[b, place * DIGITS + d]
                        digits[b, place * DIGITS + d] = start[0]
                        start[0] = start[0] + start[1]
                # stable passes from the lowest digit to the highest
                for c in T.serial(count):
                    for j in T.serial(counts[b, c]):
                        start[0] = digit(keys[b, c * size + j], 0)
                        by_score[b, digits[b, start[0]]] = keys[b, c * size + j]
                        digits[b, start[0]] = digits[b, start[0]] + 1
                for j in T.serial(total[0]):
                    start[0] = DIGITS + digit(by_score[b, j], 1)
                    spare[b, digits[b, start[0]]] = by_score[b, j]
                    digits[b, start[0]] = digits[b, start[0]] + 1
                for j in T.serial(total[0]):
                    start[0] = 2 * DIGITS + digit(spare[b, j], 2)
                    by_score[b, digits[b, start[0]]] = spare[b, j]
                    digits[b, start[0]] = digits[b, start[0]] + 1

                for k in T.serial(padded):
                    kept_classes[b, k] = -1  # no box's class: the padding suppresses nothing
                at[0] = 0
                at[1] = 0
                while T.And(at[0] < T.min(total[0], limit), at[1] < max_det):
                    at[3] = T.Cast("int32", T.bitwise_and(by_score[b, at[0]], T.uint64(0xFFFFFFFF)))
                    for k in T.serial(4):
                        box[k] = boxes[b, at[3], k]
                    area[0] = (box[2] - box[0]) * (box[3] - box[1])
                    hits[0] = 0
                    if suppress:
                        at[2] = 0
                        while T.And(at[2] < at[1], hits[0] == 0):
                            for v in loops.lanes():
                                ratio[v] = intersection_over_union(
                                    box, area[0], four(kept, [b], [at[2] + v]), kept[b, 4, at[2] + v]
                                )
                            for v in loops.lanes():
                                hit[v] = T.Select(
                                    T.And(
                                        ratio[v] > T.float32(threshold),
                                        kept_classes[b, at[2] + v] == group(classes[b, at[3]]),
                                    ),
                                    1,
                                    0,
                                )
                            for v in T.serial(LANES):
                                hits[0] = hits[0] + hit[v]
                            at[2] = at[2] + LANES
                    if hits[0] == 0:
                        for k in T.serial(4):
                            kept[b, k, at[1]] = box[k]
                        kept[b, 4, at[1]] = area[0]
                        kept_classes[b, at[1]] = group(classes[b, at[3]])
                        store(
                            out_boxes, [b, at[1]], frame_box(geometry, [box[0], box[1], box[2], box[3]], height, width)
                        )
                        out_scores[b, at[1]] = T.reinterpret(
                            "float32", T.Cast("uint32", T.shift_right(by_score[b, at[0]], T.uint64(32)))
                        )
                        out_classes[b, at[1]] = classes[b, at[3]]
                        at[1] = at[1] + 1
                    at[0] = at[0] + 1

                out_count[b] = at[1]
                for j in T.serial(max_det - at[1]):
                    for k in T.serial(4):
                        out_boxes[b, at[1] + j, k] = T.float32(0)
                    out_scores[b, at[1] + j] = T.float32(0)
                    out_classes[b, at[1] + j] = -1

    return for_frame_size(select, geometry)


def intersection_over_union(box, area, other, other_area):
    """Of two boxes' values x1, y1, x2, y2 and their areas, as torchvision computes it; float32."""
    w = T.min(box[2], other[2]) - T.max(box[0], other[0])
    h = T.min(box[3], other[3]) - T.max(box[1], other[1])
    # The select keeps compilers from fusing the product into the subtraction, which would round once less.
    inter = T.Select(T.And(w > T.float32(0), h > T.float32(0)), w * h, T.float32(0))
    return inter / (area + other_area - inter)


def frame_box(geometry, box, height, width):
    """A box's four values in the frame's pixels; as they are where there is nothing to undo."""
    return box if geometry is None or geometry.undo is None else geometry.undo(box, height, width)


def for_frame_size(kernel, geometry):
    """A selection kernel without its parameters ``height`` and ``width``, the fifth and sixth, where they are known."""
    if geometry is not None and geometry.symbolic:
        return kernel
    height, width = kernel.params[4:6]
    known = (0, 0) if geometry is None else (geometry.height, geometry.width)
    return kernel.specialize({height: T.int64(known[0]), width: T.int64(known[1])})


def kept_capacity(max_det: int) -> int:
    """Rows of the kept boxes' workspace: ``max_det`` in whole vectors."""
    return -(-max_det // LANES) * LANES
