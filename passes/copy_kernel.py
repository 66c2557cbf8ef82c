"""The kernel that moves bytes where no view will do."""

from __future__ import annotations

import math

import tvm
from tvm import te

LANES = 16


def copy_kernel(shape, dtype: str, target=None):
    """``copy(source, destination)``: two dense buffers, the elements moved in order.

    Parameters
    ----------
    shape : sequence of int
    dtype : str
    target : tvm.target.Target, optional
        Thread bindings are made if it is a GPU.

    Returns
    -------
    tirx.PrimFunc
    """
    source = te.placeholder(tuple(shape), dtype=dtype, name="source")
    copy = te.compute(tuple(shape), lambda *place: source[place], name="copy")
    func = te.create_prim_func([source, copy]).without_attr("global_symbol").with_attr("tirx.noalias", True)
    if target is not None and "gpu" in target.keys:
        with target:
            rule = tvm.s_tir.dlight.ApplyDefaultSchedule(tvm.s_tir.dlight.gpu.Fallback())
            return rule(tvm.IRModule({"copy": func}))["copy"]
    schedule = tvm.s_tir.Schedule(func)
    loop = schedule.fuse(*schedule.get_loops(schedule.get_sblock("copy")))
    elements = math.prod(shape)
    if elements % LANES == 0 and elements > LANES:
        outer, inner = schedule.split(loop, [None, LANES])
        schedule.parallel(outer)
        schedule.vectorize(inner)
    return schedule.mod["main"]
