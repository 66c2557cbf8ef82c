"""The kernel after the filter on a GPU: one block a frame finds the best box left and drops what overlaps it."""

import operator

from ..block_reduce import GROUPS, TRIPS, block_reduce, strided, strided_trips, trips, with_bit
from .decode import four, store
from .script import T, sblock
from .select import float32_below, for_frame_size, frame_box, intersection_over_union

THREADS = 320  # of the block; ptxas spills with 256, 384 and 512: it then keeps to 40 registers for occupancy
LOW = 0xFFFFFFFF
USUAL = 300  # candidates of a frame, for predictions of the kernel's time: none of them overlaps another


def gpu_select_detections(chunks, nms, suppress=True, geometry=None):
    """Kernel ``(keys, counts, boxes, classes, [height, width], alive, copied, labels, chosen, boxes, scores, ...)``.

    Detections are bit for bit those of ``select.select_detections``, whose arithmetic, inputs and outputs it has, and
    no order of threads changes them. Each candidate's key is its score's bits above the complement of its number,
    counted from the lowest row: keys are unique, and the greater goes first. Instead of sorting, the block looks for
    the greatest key, ``max_det`` times at most, and in the same pass over the candidates drops those that the last
    one overlaps: ``max_det * candidates / THREADS`` overlaps, one after another. Without suppression a candidate's
    place is the number of greater keys.

    Workspace: ``alive`` ``(batch, chunks.capacity)`` uint64 keys, 0 once dropped; ``copied`` ``(batch, 5,
    chunks.capacity)`` float32 (x1, y1, x2, y2, area) and ``labels`` ``(batch, chunks.capacity)`` int32, side by side
    where rows are not; ``chosen`` ``(batch, max_det)`` uint64.

    Parameters
    ----------
    chunks : ThreadBlocks
    nms : Nms
    suppress : bool
        False: the model has done it; only sort and cut.
    geometry : FrameGeometry or None
        As ``select.select_detections`` takes it.
    """
    batch, rows, size, count, capacity = chunks.batch, chunks.rows, chunks.size, chunks.count, chunks.capacity
    max_det, limit = nms.max_det, min(nms.max_candidates, chunks.rows)
    threshold = float32_below(nms.iou)
    last = min(max_det, limit)  # detections at most
    usual = min(USUAL, rows)
    over_candidates = strided_trips(usual, rows, THREADS)
    in_chunk = trips(-(-usual // count), min(size, rows))
    over_all = trips(usual, rows)
    over_bits = (T.int32(63 if usual > limit else 0), TRIPS, 63)
    over_detections = (T.int32(min(usual, last)), TRIPS, last)

    def number(key):
        """The candidate of a key."""
        return T.Cast("int32", T.uint64(LOW) - T.bitwise_and(key, T.uint64(LOW)))

    def mine(t, total):
        return strided(t, total, THREADS)

    def overlap(copied, b, j, kept):
        # areas come from memory: no compiler fuses their product into a subtraction
        return intersection_over_union(four(copied, [b], [j]), copied[b, 4, j], kept, kept[4])

    def same_group(label, other):
        return T.bool(True) if nms.class_agnostic else label == other

    @T.prim_func(private=True, s_tir=True)
    def select(
        keys: T.Buffer((batch, capacity), "uint64"),
        counts: T.Buffer((batch, count), "int32"),
        boxes: T.Buffer((batch, rows, 4), "float32"),
        classes: T.Buffer((batch, rows), "int32"),
        height: T.int64,
        width: T.int64,
        alive: T.Buffer((batch, capacity), "uint64"),
        copied: T.Buffer((batch, 5, capacity), "float32"),
        labels: T.Buffer((batch, capacity), "int32"),
        chosen: T.Buffer((batch, max_det), "uint64"),
        out_boxes: T.Buffer((batch, max_det, 4), "float32"),
        out_scores: T.Buffer((batch, max_det), "float32"),
        out_classes: T.Buffer((batch, max_det), "int32"),
        out_count: T.Buffer((batch,), "int32"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with sblock("root"):
            T.reads()
            T.writes()
            for b in T.thread_binding(batch, thread="blockIdx.x"):
                for t in T.thread_binding(THREADS, thread="threadIdx.x"):
                    part = T.alloc_buffer((THREADS,), "uint64", scope="shared")
                    parts = T.alloc_buffer((GROUPS,), "uint64", scope="shared")
                    at = T.alloc_buffer((2,), "int32", scope="local")  # candidate, row
                    total = T.alloc_buffer((1,), "int32", scope="local")
                    before = T.alloc_buffer((1,), "int32", scope="local")
                    found = T.alloc_buffer((1,), "int32", scope="local")
                    bit = T.alloc_buffer((1,), "int32", scope="local")
                    more = T.alloc_buffer((1,), "int32", scope="local")
                    least = T.alloc_buffer((1,), "uint64", scope="local")
                    # this thread's and the block's: greatest key, or number of keys
                    own = T.alloc_buffer((1,), "uint64", scope="local")
                    whole = T.alloc_buffer((1,), "uint64", scope="local")
                    kept = T.alloc_buffer((5,), "float32", scope="local")
                    label = T.alloc_buffer((1,), "int32", scope="local")

                    # candidates next to each other, in the order of their rows
                    total[0] = 0
                    for c in T.serial(count):
                        total[0] = total[0] + counts[b, c]
                    for i in T.serial(mine(t, count)):
                        before[0] = 0
                        for c in T.serial(i * THREADS + t):
                            before[0] = before[0] + counts[b, c]
                        for j in T.serial(counts[b, i * THREADS + t], annotations=in_chunk):
                            alive[b, before[0] + j] = keys[b, (i * THREADS + t) * size + j]
                    T.tvm_storage_sync("shared")
                    own[0] = T.uint64(0)
                    for i in T.serial(mine(t, total[0]), annotations=over_candidates):
                        at[0] = i * THREADS + t
                        at[1] = T.Cast("int32", T.bitwise_and(alive[b, at[0]], T.uint64(LOW)))
                        for k in T.serial(4):
                            copied[b, k, at[0]] = boxes[b, at[1], k]
                        copied[b, 4, at[0]] = (boxes[b, at[1], 2] - boxes[b, at[1], 0]) * (
                            boxes[b, at[1], 3] - boxes[b, at[1], 1]
                        )
                        labels[b, at[0]] = classes[b, at[1]]
                        alive[b, at[0]] = T.bitwise_or(
                            T.shift_left(T.shift_right(alive[b, at[0]], T.uint64(32)), T.uint64(32)),
                            T.uint64(LOW) - T.Cast("uint64", at[0]),
                        )
                        own[0] = T.max(own[0], alive[b, at[0]])

                    # what other threads have copied is read after block_reduce's barriers
                    if suppress:
                        if limit < rows:
                            # more than may enter: the least key that may, bit by bit from the sign's neighbour on
                            least[0] = T.uint64(0)
                            bit[0] = T.Select(total[0] > limit, 62, -1)
                            with T.attr(*over_bits):
                                while bit[0] >= 0:
                                    own[0] = T.uint64(0)
                                    for i in T.serial(mine(t, total[0]), annotations=over_candidates):
                                        if alive[b, i * THREADS + t] >= with_bit(least[0], bit[0]):
                                            own[0] = own[0] + T.uint64(1)
                                    block_reduce(operator.add, own, part, parts, whole, t)
                                    if whole[0] >= T.uint64(limit):
                                        least[0] = with_bit(least[0], bit[0])
                                    bit[0] = bit[0] - 1
                            own[0] = T.uint64(0)
                            for i in T.serial(mine(t, total[0]), annotations=over_candidates):
                                if alive[b, i * THREADS + t] < least[0]:
                                    alive[b, i * THREADS + t] = T.uint64(0)
                                own[0] = T.max(own[0], alive[b, i * THREADS + t])

                        found[0] = 0
                        more[0] = 1
                        with T.attr(*over_detections):
                            while more[0] > 0:
                                block_reduce(T.max, own, part, parts, whole, t)
                                more[0] = 0
                                if whole[0] > T.uint64(0):
                                    if t == 0:
                                        chosen[b, found[0]] = whole[0]
                                    found[0] = found[0] + 1
                                    more[0] = T.Select(found[0] < max_det, 1, 0)
                                    for k in T.serial(5):
                                        kept[k] = copied[b, k, number(whole[0])]
                                    label[0] = labels[b, number(whole[0])]
                                    own[0] = T.uint64(0)
                                    for i in T.serial(mine(t, total[0]), annotations=over_candidates):
                                        at[0] = i * THREADS + t
                                        if alive[b, at[0]] > T.uint64(0):
                                            if T.Or(
                                                alive[b, at[0]] == whole[0],
                                                T.And(
                                                    same_group(labels[b, at[0]], label[0]),
                                                    overlap(copied, b, at[0], kept) > T.float32(threshold),
                                                ),
                                            ):
                                                alive[b, at[0]] = T.uint64(0)
                                            else:
                                                own[0] = T.max(own[0], alive[b, at[0]])
                    else:
                        T.tvm_storage_sync("shared")
                        found[0] = T.min(total[0], last)
                        for i in T.serial(mine(t, total[0]), annotations=over_candidates):
                            before[0] = 0
                            for j in T.serial(total[0], annotations=over_all):
                                if alive[b, j] > alive[b, i * THREADS + t]:
                                    before[0] = before[0] + 1
                            if before[0] < last:
                                chosen[b, before[0]] = alive[b, i * THREADS + t]
                    T.tvm_storage_sync("shared")

                    for i in T.serial(mine(t, max_det)):
                        at[1] = i * THREADS + t
                        if at[1] < found[0]:
                            at[0] = number(chosen[b, at[1]])
                            for k in T.serial(4):
                                kept[k] = copied[b, k, at[0]]
                            store(
                                out_boxes,
                                [b, at[1]],
                                frame_box(geometry, [kept[0], kept[1], kept[2], kept[3]], height, width),
                            )
                            out_scores[b, at[1]] = T.reinterpret(
                                "float32", T.Cast("uint32", T.shift_right(chosen[b, at[1]], T.uint64(32)))
                            )
                            out_classes[b, at[1]] = labels[b, at[0]]
                        else:
                            for k in T.serial(4):
                                out_boxes[b, at[1], k] = T.float32(0)
                            out_scores[b, at[1]] = T.float32(0)
                            out_classes[b, at[1]] = -1
                    if t == 0:
                        out_count[b] = found[0]

    return for_frame_size(select, geometry)
