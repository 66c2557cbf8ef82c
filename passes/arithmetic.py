"""How much arithmetic a kernel stands for, told before it is scheduled."""

import tvm
from tvm import s_tir, tirx

ATTRIBUTE = "tz.flops"  # of a scheduled kernel, where ApplySchedules could tell

# A Winograd kernel's figure is the direct convolution's, so that layers compare whichever way they are computed:
# multiplications of the direct one, and its own (Lavin and Gray 2016; winograd_strided_ops).
_SAVED = {"winograd_gemm": (144, 36), "strided_gemm": (12, 9)}


def multiply_adds(func: tirx.PrimFunc) -> int:
    """Floating-point operations of the kernel's reductions: two for each step of each; 0 without static reductions.

    Parameters
    ----------
    func : tirx.PrimFunc
        Before scheduling; each reduction is one block.
    """
    sch = s_tir.Schedule(tvm.IRModule({"main": func}))
    total = 0
    for block in sch.get_child_blocks(sch.get_sblock("root")):
        total += int(sch.get(block).annotations.get(ATTRIBUTE, 0))  # a block of intrinsics says it itself
        variables = sch.get(block).iter_vars
        extents = [var.dom.extent for var in variables]
        reduces = any(var.iter_type == tirx.IterVar.CommReduce for var in variables)
        if not reduces or not all(isinstance(extent, tirx.IntImm) for extent in extents):
            continue
        points = 1
        for extent in extents:
            points *= int(extent)
        direct, made = next((_SAVED[name] for name in _SAVED if sch.get(block).name_hint.startswith(name)), (1, 1))
        total += 2 * points * direct // made
    return total
