"""How much arithmetic a kernel stands for, told before it is scheduled."""

import tvm
from tvm import s_tir, tirx

ATTRIBUTE = "tz.flops"  # of a scheduled kernel, where ApplySchedules could tell

# F(4x4, 3x3) multiplies 36 numbers where direct convolution takes 144 (Lavin and Gray 2016): its figure is the direct
# convolution's, so that layers compare whichever way they are computed.
_WINOGRAD_GEMM, _WINOGRAD_SAVES = "winograd_gemm", 4


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
        total += 2 * points * (_WINOGRAD_SAVES if sch.get(block).name_hint.startswith(_WINOGRAD_GEMM) else 1)
    return total
