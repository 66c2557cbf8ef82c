"""The candidate filter for heads that keep a prediction's values together: yolov5, yolox and end2end."""

from .decode import all_finite, corners, four, is_class_index, sort_key, store
from .loops import LANES
from .script import T, sblock


def objectness_filter(chunks, num_classes, conf, loops, levels=None):
    """Kernel ``(raw, keys, counts, boxes, classes)`` for ``raw`` of ``(batch, rows, 5 + num_classes)`` float32.

    A row's values are centre x, centre y, width, height, objectness and the classes' probabilities. A row whose
    objectness is not above ``conf`` costs one load. Of the others the best class (the first of equals; NaN is none) by
    objectness times probability makes a candidate if that is above ``conf`` and the box is finite:

    - ``keys`` ``(batch, chunks.capacity)`` uint64: per chunk, in the rows' order, see ``decode.sort_key``;
    - ``counts`` ``(batch, chunks.count)`` int32: candidates of each chunk;
    - ``boxes`` ``(batch, rows, 4)`` float32 xyxy and ``classes`` ``(batch, rows)`` int32: written at candidates only.

    ``levels`` given: the boxes are YOLOX's raw grid values and are decoded.
    """
    batch, rows, size, count = chunks.batch, chunks.rows, chunks.size, chunks.count
    values, capacity = 5 + num_classes, chunks.capacity
    blocks, rest = num_classes // LANES, num_classes % LANES

    @T.prim_func(private=True, s_tir=True)
    def filter_candidates(
        raw: T.Buffer((batch, rows, values), "float32"),
        keys: T.Buffer((batch, capacity), "uint64"),
        counts: T.Buffer((batch, count), "int32"),
        boxes: T.Buffer((batch, rows, 4), "float32"),
        classes: T.Buffer((batch, rows), "int32"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with sblock("root"):
            T.reads()
            T.writes()
            for chunk in loops.parallel(batch * count):
                at = T.alloc_buffer((3,), "int32", scope=loops.scope)  # frame, row, candidates so far
                best = T.alloc_buffer((1,), "float32", scope=loops.scope)
                label = T.alloc_buffer((1,), "int32", scope=loops.scope)
                lane_best = T.alloc_buffer((LANES,), "float32", scope=loops.scope)
                lane_label = T.alloc_buffer((LANES,), "int32", scope=loops.scope)
                score = T.alloc_buffer((LANES,), "float32", scope=loops.scope)
                box = T.alloc_buffer((4,), "float32", scope=loops.scope)
                at[0] = chunk // count
                at[2] = 0
                for r in T.serial(T.min(size, rows - chunk % count * size)):
                    at[1] = chunk % count * size + r
                    if raw[at[0], at[1], 4] > T.float32(conf):
                        best[0] = T.float32(conf)
                        label[0] = num_classes
                        if blocks > 0:
                            for v in loops.lanes():
                                lane_best[v] = T.float32(conf)
                                lane_label[v] = num_classes
                            for c in T.serial(blocks):
                                for v in loops.lanes():
                                    score[v] = raw[at[0], at[1], 4] * raw[at[0], at[1], 5 + c * LANES + v]
                                for v in loops.lanes():
                                    lane_label[v] = T.Select(score[v] > lane_best[v], c * LANES + v, lane_label[v])
                                for v in loops.lanes():
                                    lane_best[v] = T.Select(score[v] > lane_best[v], score[v], lane_best[v])
                            for v in T.serial(LANES):
                                if T.Or(
                                    lane_best[v] > best[0],
                                    T.And(lane_best[v] == best[0], lane_label[v] < label[0]),
                                ):
                                    best[0] = lane_best[v]
                                    label[0] = lane_label[v]
                        for c in T.serial(rest):
                            score[0] = raw[at[0], at[1], 4] * raw[at[0], at[1], 5 + blocks * LANES + c]
                            if score[0] > best[0]:
                                best[0] = score[0]
                                label[0] = blocks * LANES + c
                        if best[0] > T.float32(conf):
                            store(box, [], corners(four(raw, [at[0], at[1]]), at[1], levels))
                            if all_finite([box[0], box[1], box[2], box[3]]):
                                for k in T.serial(4):
                                    boxes[at[0], at[1], k] = box[k]
                                classes[at[0], at[1]] = label[0]
                                keys[at[0], chunk % count * size + at[2]] = sort_key(best[0], at[1])
                                at[2] = at[2] + 1
                counts[at[0], chunk % count] = at[2]

    return filter_candidates


def end2end_filter(chunks, conf, loops):
    """Kernel as ``objectness_filter``'s for ``raw`` of ``(batch, rows, 6)`` float32: xyxy, score and class.

    A row whose class is no index (negative, NaN, beyond ``decode.MAX_CLASS``) makes no candidate.
    """
    batch, rows, size, count, capacity = chunks.batch, chunks.rows, chunks.size, chunks.count, chunks.capacity

    @T.prim_func(private=True, s_tir=True)
    def filter_candidates(
        raw: T.Buffer((batch, rows, 6), "float32"),
        keys: T.Buffer((batch, capacity), "uint64"),
        counts: T.Buffer((batch, count), "int32"),
        boxes: T.Buffer((batch, rows, 4), "float32"),
        classes: T.Buffer((batch, rows), "int32"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with sblock("root"):
            T.reads()
            T.writes()
            for chunk in loops.parallel(batch * count):
                at = T.alloc_buffer((3,), "int32", scope=loops.scope)  # frame, row, candidates so far
                at[0] = chunk // count
                at[2] = 0
                for r in T.serial(T.min(size, rows - chunk % count * size)):
                    at[1] = chunk % count * size + r
                    if T.And(
                        T.And(raw[at[0], at[1], 4] > T.float32(conf), is_class_index(raw[at[0], at[1], 5])),
                        all_finite(four(raw, [at[0], at[1]])),
                    ):
                        for k in T.serial(4):
                            boxes[at[0], at[1], k] = raw[at[0], at[1], k]
                        classes[at[0], at[1]] = T.Cast("int32", raw[at[0], at[1], 5])
                        keys[at[0], chunk % count * size + at[2]] = sort_key(raw[at[0], at[1], 4], at[1])
                        at[2] = at[2] + 1
                counts[at[0], chunk % count] = at[2]

    return filter_candidates
