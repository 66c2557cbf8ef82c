"""The candidate filter on a GPU: one thread a prediction, and each block's candidates moved together in order."""

from .decode import all_finite, corners, four, is_class_index, sort_key, store
from .recognize import Head
from .script import T, sblock
from .workspace import ThreadBlocks

GROUP = 16  # threads that count their candidates together


def gpu_candidate_filter(head: Head, in_columns: bool, chunks: ThreadBlocks, conf: float):
    """Kernel ``(raw, keys, counts, boxes, classes)``: what ``filters.candidate_filter`` gives, with a block a chunk.

    Candidates, and the order in which a chunk holds them, are those of the CPU's kernels. A thread's place among its
    block's candidates is the number of candidates before it (a prefix sum), so no order of threads can change it.
    """
    batch, rows, size, count, capacity = chunks.batch, chunks.rows, chunks.size, chunks.count, chunks.capacity
    end2end, objectness = head.name == "end2end", head.name in ("yolov5", "yolox")
    first = 5 if objectness else 4
    num_classes = head.classes
    values = 6 if end2end else first + num_classes
    shape = (batch, values, rows) if in_columns else (batch, rows, values)

    def value(raw, at, k):
        return raw[at[0], k, at[1]] if in_columns else raw[at[0], at[1], k]

    def raw_box(raw, at):
        return four(raw, [at[0]], [at[1]]) if in_columns else four(raw, [at[0], at[1]])

    def decode(raw, at):
        box = raw_box(raw, at)
        return box if end2end else corners(box, at[1], head.levels)

    @T.prim_func(private=True, s_tir=True)
    def filter_candidates(
        raw: T.Buffer(shape, "float32"),
        keys: T.Buffer((batch, capacity), "uint64"),
        counts: T.Buffer((batch, count), "int32"),
        boxes: T.Buffer((batch, rows, 4), "float32"),
        classes: T.Buffer((batch, rows), "int32"),
    ):
        T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
        with sblock("root"):
            T.reads()
            T.writes()
            for chunk in T.thread_binding(batch * count, thread="blockIdx.x"):
                for t in T.thread_binding(size, thread="threadIdx.x"):
                    flags = T.alloc_buffer((size,), "int32", scope="shared")
                    sums = T.alloc_buffer((size // GROUP,), "int32", scope="shared")
                    at = T.alloc_buffer((3,), "int32", scope="local")  # frame, row, candidates before it
                    label = T.alloc_buffer((1,), "int32", scope="local")
                    present = T.alloc_buffer((1,), "float32", scope="local")  # objectness
                    score = T.alloc_buffer((1,), "float32", scope="local")
                    best = T.alloc_buffer((1,), "float32", scope="local")
                    box = T.alloc_buffer((4,), "float32", scope="local")
                    at[0] = chunk // count
                    at[1] = chunk % count * size + t
                    label[0] = -1
                    best[0] = T.float32(conf)
                    if at[1] < rows:
                        present[0] = value(raw, at, 4) if objectness or end2end else T.infinity("float32")
                        if present[0] > T.float32(conf):
                            if end2end:
                                if is_class_index(value(raw, at, 5)):
                                    best[0] = present[0]
                                    label[0] = T.Cast("int32", value(raw, at, 5))
                            else:
                                for c in T.serial(num_classes):
                                    score[0] = value(raw, at, first + c)
                                    if objectness:
                                        score[0] = present[0] * score[0]
                                    if score[0] > best[0]:
                                        best[0] = score[0]
                                        label[0] = c
                        if label[0] >= 0:
                            store(box, [], decode(raw, at))
                            # no Not: TVM turns that of <= into >, which NaN is not either
                            label[0] = T.Select(all_finite([box[0], box[1], box[2], box[3]]), label[0], -1)

                    flags[t] = T.Select(label[0] >= 0, 1, 0)
                    T.tvm_storage_sync("shared")
                    at[2] = 0
                    for i in T.serial(GROUP):
                        at[2] = at[2] + T.Select(i < t % GROUP, flags[t // GROUP * GROUP + i], 0)
                    if t % GROUP == GROUP - 1:
                        sums[t // GROUP] = at[2] + flags[t]
                    T.tvm_storage_sync("shared")
                    for g in T.serial(size // GROUP):
                        at[2] = at[2] + T.Select(g < t // GROUP, sums[g], 0)

                    if label[0] >= 0:
                        for k in T.serial(4):
                            boxes[at[0], at[1], k] = box[k]
                        classes[at[0], at[1]] = label[0]
                        keys[at[0], chunk % count * size + at[2]] = sort_key(best[0], at[1])
                    if t == size - 1:
                        counts[at[0], chunk % count] = at[2] + flags[t]

    return filter_candidates
