"""The most float32 arithmetic that a device can do: measured on a CPU, declared by a GPU."""

from typing import Any, Optional

import numpy as np

_CHAINS = 12  # independent sums per thread: latency 4 x 2 units need 8; 16 registers hold 12 and an operand
_STEPS = 1_500_000  # 6 ms: as long as the matrix product, so that neighbours disturb both alike
_REPEAT = 25

# float32 lanes of one multiprocessor by compute capability (CUDA C++ Programming Guide, arithmetic throughput)
_CUDA_LANES = {"6.0": 64, "7": 64, "8.0": 64, "5": 128, "6": 128, "8": 128, "9": 128, "10": 128, "11": 128, "12": 128}


def measure(target: Any, lanes: int) -> float:
    """GFLOP/s of fused multiply-adds on registers alone, all allowed CPUs, the best of several runs.

    Each step of a chain is v = v * v + s on one vector of ``lanes``; v stays 1 with s = 0.
    """
    import tvm

    from . import compat, cpus

    run = compat.build(_program(cpus.ALLOWED, lanes), target)
    out = compat.tensor(np.zeros((cpus.ALLOWED, _CHAINS, lanes), np.float32), tvm.cpu())
    start = compat.tensor(np.zeros((_CHAINS, lanes), np.float32), tvm.cpu())
    times = run.time_evaluator("main", tvm.cpu(), number=1, repeat=_REPEAT)(start, out).results
    return 2 * cpus.ALLOWED * _CHAINS * lanes * _STEPS / min(times) / 1e9


def _program(threads: int, lanes: int) -> Any:
    import tvm
    from tvm import te

    from . import compat

    one = (tvm.tirx if hasattr(tvm, "tirx") else tvm.tir).const
    square = te.comm_reducer(lambda v, s: v * v + s, lambda dtype: one(1.0, dtype), name="square")
    s = te.placeholder((_CHAINS, lanes), name="s")
    step = te.reduce_axis((0, _STEPS), name="step")
    out = te.compute((threads, _CHAINS, lanes), lambda t, c, x: square(s[c, x], axis=step), name="out")
    sch = compat.schedule(te.create_prim_func([s, out]))
    block = compat.block(sch, "out")
    thread, chain, lane, step_loop = sch.get_loops(block)
    sch.reorder(thread, step_loop, chain, lane)
    local = sch.cache_write(block, 0, "local")
    sch.reverse_compute_at(local, thread)
    sch.parallel(thread)
    sch.unroll(chain)
    sch.vectorize(lane)
    sch.decompose_reduction(block, step_loop)
    return sch.mod["main"]


def declared(device: Any) -> Optional[float]:
    """GFLOP/s of a CUDA device: multiprocessors x lanes x 2 x clock; None where the driver does not tell the clock."""
    version = str(device.compute_version)
    lanes = _CUDA_LANES.get(version) or _CUDA_LANES.get(version.split(".")[0])
    clock, count = device.max_clock_rate, device.multi_processor_count  # kHz
    if not lanes or not clock or not count:
        return None
    return count * lanes * 2 * clock / 1e6
