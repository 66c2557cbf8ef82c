"""The candidate filter for heads that keep each value of all predictions together: yolov8, and yolox untransposed."""

from .decode import all_finite, corners, four, sort_key, store
from .loops import LANES
from .script import T, sblock

# Columns that run through the classes together: few enough for registers, enough to use whole cache lines.
REGISTERS = 4


def class_filter(chunks, num_classes, conf, loops, objectness=False, levels=None):
    """Kernel ``(raw, keys, counts, boxes, classes)`` for ``raw`` of ``(batch, channels, rows)`` float32.

    Channels are centre x, centre y, width, height, with ``objectness`` that too, and the classes' probabilities. The
    best class (the first of equals; NaN is none) makes a candidate if it is above ``conf``, the objectness it is
    multiplied with as well, and the box is finite. The other arguments and ``levels`` are those of
    ``filter_rows.objectness_filter``.
    """
    batch, rows, size, count, capacity = chunks.batch, chunks.rows, chunks.size, chunks.count, chunks.capacity
    first = 5 if objectness else 4
    channels = first + num_classes
    lanes = LANES if rows >= LANES else 1
    registers = min(REGISTERS, size // lanes) or 1
    width = lanes * registers  # of a block of columns
    blocks = -(-size // width)

    @T.prim_func(private=True, s_tir=True)
    def filter_candidates(
        raw: T.Buffer((batch, channels, rows), "float32"),
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
                # frame, first column, end, the block's first column, candidates so far
                at = T.alloc_buffer((5,), "int32", scope=loops.scope)
                best = T.alloc_buffer((width,), "float32", scope=loops.scope)
                label = T.alloc_buffer((width,), "int32", scope=loops.scope)
                present = T.alloc_buffer((width,), "float32", scope=loops.scope)  # objectness
                score = T.alloc_buffer((lanes,), "float32", scope=loops.scope)
                box = T.alloc_buffer((4,), "float32", scope=loops.scope)
                at[0] = chunk // count
                at[1] = chunk % count * size
                at[2] = T.min(at[1] + size, rows)
                at[4] = 0
                for block in T.serial(blocks):
                    # a block that would run over the end starts earlier and skips the columns already done
                    at[3] = T.min(at[1] + block * width, rows - width)
                    for v in loops.lanes(width):
                        best[v] = T.float32(conf)
                        label[v] = -1
                        present[v] = raw[at[0], 4, at[3] + v] if objectness else T.infinity("float32")
                    for c in T.serial(num_classes):
                        for g in T.unroll(registers):
                            for v in loops.lanes(lanes):
                                score[v] = raw[at[0], first + c, at[3] + g * lanes + v]
                                if objectness:
                                    score[v] = present[g * lanes + v] * score[v]
                            for v in loops.lanes(lanes):
                                label[g * lanes + v] = T.Select(score[v] > best[g * lanes + v], c, label[g * lanes + v])
                            for v in loops.lanes(lanes):
                                best[g * lanes + v] = T.Select(
                                    score[v] > best[g * lanes + v], score[v], best[g * lanes + v]
                                )
                    for v in T.serial(width):
                        if T.And(label[v] >= 0, T.And(at[3] + v >= at[1] + block * width, at[3] + v < at[2])):
                            store(box, [], corners(four(raw, [at[0]], [at[3] + v]), at[3] + v, levels))
                            if T.And(present[v] > T.float32(conf), all_finite([box[0], box[1], box[2], box[3]])):
                                for k in T.serial(4):
                                    boxes[at[0], at[3] + v, k] = box[k]
                                classes[at[0], at[3] + v] = label[v]
                                keys[at[0], at[1] + at[4]] = sort_key(best[v], at[3] + v)
                                at[4] = at[4] + 1
                counts[at[0], chunk % count] = at[4]

    return filter_candidates
