"""Every kernel of a program: time, GFLOP/s, share of the machine's measured peak, bytes."""

from __future__ import annotations

import numpy as np

from ..errors import ArtifactError

WARMUP = 5


def measure(engine, frame: np.ndarray, runs: int, progress=lambda text, done, total: None) -> dict:
    """Plain data: the peak (GFLOP/s on this process's threads) and a row for each kernel call, in the program's order.

    A row: kernel, seconds (median), share of the sum of medians, gflops (None without arithmetic worth counting),
    share_of_peak, bytes (read and written: inputs, weights, outputs) and gbytes_per_second. A Winograd kernel's
    arithmetic is that of the direct convolution, so its share may pass 1.

    Raises
    ------
    ArtifactError
        If the program was compiled by a version that did not note the arithmetic.
    """
    calls = engine.program["calls"]
    if any("flops" not in call for call in calls):
        raise ArtifactError("this artifact does not say its kernels' arithmetic; compile it again with this version")
    for _ in range(WARMUP):
        engine.time_kernels(frame)
    times = np.empty((runs, len(calls)))
    for run in range(runs):
        progress("layers", run, runs)
        times[run] = [seconds for _, seconds in engine.time_kernels(frame)]
    medians = np.median(times, axis=0)
    peak = _peak()
    rows = [_row(call, float(seconds), float(medians.sum()), peak) for call, seconds in zip(calls, medians)]
    flops = sum(call["flops"] or 0 for call in calls)
    total = float(medians.sum())
    return {"peak_gflops": peak, "runs": runs, "seconds": total, "gflops": flops / total / 1e9, "rows": rows}


def _row(call: dict, seconds: float, total: float, peak: float) -> dict:
    moved = sum(view["nbytes"] or 0 for view in (*call["inputs"], *call["outputs"]))
    gflops = call["flops"] / seconds / 1e9 if call["flops"] and seconds else None
    return {
        "kernel": call["kernel"],
        "seconds": seconds,
        "share": seconds / total,
        "gflops": gflops,
        "share_of_peak": gflops / peak if gflops else None,
        "bytes": moved,
        "gbytes_per_second": moved / seconds / 1e9 if seconds else None,
    }


def _peak() -> float:
    from ..diagnosis import peak
    from ..diagnosis.machine import cpu_lanes
    from ..targets import resolve_target

    return peak.measure(resolve_target("llvm"), cpu_lanes())
