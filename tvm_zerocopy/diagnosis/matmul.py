"""A 1024-cube float32 matrix product, scheduled well enough that its speed says something about the machine."""

from typing import Any, Tuple

import numpy as np

from ..runtime import cpu_flags
from .programs import NO_CUDA
from .result import CheckResult, fail, ok, skip, warn

SIDE = 1024
FLOP = 2 * SIDE**3
_SLOW = 0.25  # of peak; our schedule reaches 0.6 and more on an idle machine
_REPEAT = 25


def matmul(kind: str) -> CheckResult:
    """GFLOP/s on a kind of device, "cpu" or "cuda", and the share of what it can do at most."""
    from . import compat, cpus, peak

    target, device = compat.place(kind)
    if target is None:
        return skip(NO_CUDA)
    rng = np.random.default_rng(0)
    a, b = (rng.random((SIDE, SIDE), np.float32) for _ in range(2))
    if kind == "cpu":
        lanes, registers = vector_unit(target)
        gflops, error = _run(cpu_program(lanes, registers), target, device, a, b)
        limit, source = peak.measure(target, lanes), f"measured on {cpus.ALLOWED} CPUs"
    else:
        gflops, error = _run(gpu_program(target), target, device, a, b)
        limit, source = peak.declared(device), "that its clock and multiprocessors make"
    figures = {"gflops": round(gflops, 1), "peak_gflops": limit and round(limit, 1), "share": limit and gflops / limit}
    if not error < 1e-2:  # sums of 1024 products of numbers from 0 to 1, near 256
        return fail(f"a matrix product is off by {error:.1e}", "report it with `--json`'s text", **figures)
    if not limit:
        return ok(f"{gflops:.0f} GFLOP/s; the driver does not tell this device's peak", **figures)
    detail = f"{gflops:.0f} GFLOP/s, {gflops / limit:.0%} of the {limit:.0f} {source}"
    if kind == "cpu" and gflops < _SLOW * limit:
        mend = "close other programs; see the line on threads; on a laptop or board choose the performance mode"
        return warn(detail + ": slow", mend + " (Jetson: sudo nvpmodel -m 0 && sudo jetson_clocks)", **figures)
    return ok(detail, **figures)


def vector_unit(target: Any) -> Tuple[int, int]:
    """float32 lanes of a vector register and how many registers there are, of an LLVM target."""
    from . import compat

    width, flags = compat.global_func("target.llvm_get_vector_width"), cpu_flags()
    lanes = max(4, width(target) // 32) if width else 16 if "avx512f" in flags else 8 if "avx2" in flags else 4
    arm = "aarch64" in str(target) or "arm" in str(dict(target.attrs).get("mtriple", ""))
    return lanes, 32 if lanes >= 16 or arm else 16


def cpu_program(lanes: int, registers: int) -> Any:
    """c = a @ b: columns of b packed into panels, a register tile of c accumulated over all of k.

    The tile is rows x 2 vectors; rows so that the accumulators and two vectors of b stay in registers.
    """
    from tvm import te

    from . import compat

    rows, width = (8 if registers == 32 else 4), 2 * lanes
    a, b = (te.placeholder((SIDE, SIDE), name=name) for name in "ab")
    panels = te.compute((SIDE // width, SIDE, width), lambda p, k, x: b[k, p * width + x], name="panels")
    k = te.reduce_axis((0, SIDE), name="k")
    c = te.compute(
        (SIDE // width, SIDE, width), lambda p, i, x: te.sum(a[i, k] * panels[p, k, x], axis=k), name="tiles"
    )
    result = te.compute((SIDE, SIDE), lambda i, j: c[j // width, i, j % width], name="c")
    sch = compat.schedule(te.create_prim_func([a, b, result]))

    panel = compat.block(sch, "panels")
    p, _, x = sch.get_loops(panel)
    sch.parallel(p)
    sch.vectorize(x)

    write = compat.block(sch, "c")
    i, j = sch.get_loops(write)
    i_outer, i_tile = sch.split(i, [None, rows])
    p, vector, lane = sch.split(j, [None, 2, lanes])
    i_block, i_outer = sch.split(i_outer, [4, None])  # 4 x panels tasks for the threads
    sch.reorder(i_block, p, i_outer, i_tile, vector, lane)
    sch.vectorize(lane)
    sch.unroll(i_tile)
    sch.unroll(vector)
    sch.parallel(sch.fuse(i_block, p))

    tile = compat.block(sch, "tiles")
    sch.compute_at(tile, i_outer)
    sch.set_scope(tile, 0, "local")
    i_tile, x, k_loop = sch.get_loops(tile)[-3:]
    vector, lane = sch.split(x, [2, lanes])
    k_outer, k_inner = sch.split(k_loop, [None, 4])
    sch.reorder(k_outer, k_inner, i_tile, vector, lane)
    sch.vectorize(lane)
    for loop in (k_inner, i_tile, vector):
        sch.unroll(loop)
    sch.decompose_reduction(tile, k_outer)
    return sch.mod["main"]


def gpu_program(target: Any) -> Any:
    """c = a @ b with TVM's stock GPU schedule."""
    import tvm
    from tvm import te

    from . import compat

    a, b = (te.placeholder((SIDE, SIDE), name=name) for name in "ab")
    k = te.reduce_axis((0, SIDE), name="k")
    c = te.compute((SIDE, SIDE), lambda i, j: te.sum(a[i, k] * b[k, j], axis=k), name="c")
    module = tvm.IRModule({"main": te.create_prim_func([a, b, c])})
    rules = compat.dlight()
    with target:
        module = rules.ApplyDefaultSchedule(rules.gpu.Matmul(), rules.gpu.Fallback())(module)
    return module["main"]


def _run(program: Any, target: Any, device: Any, a: np.ndarray, b: np.ndarray) -> Tuple[float, float]:
    """GFLOP/s of the best run (others are the neighbours' noise) and the largest error."""
    from . import compat

    run = compat.build(program, target)
    arrays = [compat.tensor(v, device) for v in (a, b, np.zeros_like(a))]
    run["main"](*arrays)
    error = float(np.abs(arrays[2].numpy() - a.astype(np.float64) @ b).max())
    times = run.time_evaluator("main", device, number=1, repeat=_REPEAT)(*arrays).results
    return FLOP / min(times) / 1e9, error
