"""The kernel and the schedule rule that the tuning tests search."""

from tvm import s_tir, te
from tvm.ir import IRModule

from tvm_zerocopy.tuning.tasks import as_workload

TILES = (4, 8, 16)


def dense_workload(size: int = 64) -> IRModule:
    a = te.placeholder((size, size), name="a")
    b = te.placeholder((size, size), name="b")
    k = te.reduce_axis((0, size), "k")
    c = te.compute((size, size), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="dense")
    return as_workload(te.create_prim_func([a, b, c]))


class TileRule:
    """Three tile sizes, parallel or not: six points; a default of the first of each."""

    def apply(self, func, target, tuning=False):
        sch = s_tir.Schedule(IRModule({"main": func}))
        block = sch.get_sblock("dense")
        i, j, k = sch.get_loops(block)
        decision = None if tuning else 0
        tile = sch.sample_categorical(TILES, [1 / 3] * 3, decision)
        parts = sch.sample_categorical([2, 4], [0.5] * 2, decision)
        outer, inner = sch.split(j, [None, tile])
        i_outer, i_inner = sch.split(i, [parts, None])
        sch.reorder(i_outer, i_inner, outer, k, inner)
        sch.vectorize(inner)
        sch.parallel(i_outer)
        return sch
