"""Every kernel of a program: time, GFLOP/s, share of the machine's measured peak, bytes."""

from __future__ import annotations

import numpy as np

from ..errors import ArtifactError

WARMUP = 5
BLOCKED = ("nchwc", "winograd")  # in names of kernels whose output is blocked


def measure(engine, frame: np.ndarray, runs: int, progress=lambda text, done, total: None) -> dict:
    """Plain data: the peak (GFLOP/s on this process's threads) and a row for each kernel call, in the program's order.

    The peak is that of the vector unit the program was compiled for, measured before and after, and the greater counts:
    neighbours on the machine only take from it.
    A row: kernel, output (shape; of blocked layouts the plain one), seconds (median), share of the sum of medians,
    gflops (None without arithmetic worth counting), share_of_peak, bytes (read and written: inputs, weights, outputs)
    and gbytes_per_second. A Winograd kernel's arithmetic is that of the direct convolution, so its share may pass 1.

    Raises
    ------
    ArtifactError
        If the program was compiled by a version that did not note the arithmetic.
    """
    calls = engine.program["calls"]
    if any("flops" not in call for call in calls):
        raise ArtifactError("this artifact does not say its kernels' arithmetic; compile it again with this version")
    progress("layers", 0, runs)
    peak = _peak(engine.target)
    for _ in range(WARMUP):
        engine.time_kernels(frame)
    times = np.empty((runs, len(calls)))
    for run in range(runs):
        progress("layers", run, runs)
        times[run] = [seconds for _, seconds in engine.time_kernels(frame)]
    medians = np.median(times, axis=0)
    peak = max(peak, _peak(engine.target))
    rows = [_row(call, float(seconds), float(medians.sum()), peak) for call, seconds in zip(calls, medians)]
    flops = sum(call["flops"] or 0 for call in calls)
    total = float(medians.sum())
    return {
        "peak_gflops": peak,
        "runs": runs,
        "seconds": total,
        "gflops": flops / total / 1e9,
        "above_peak": _above_peak(rows, engine.metadata.get("precision", "float32")),
        "rows": rows,
    }


def _above_peak(rows: list, precision: str) -> str | None:
    """Why there are kernels above the peak, if there are."""
    above = [row["kernel"] for row in rows if (row["share_of_peak"] or 0) > 1]
    reasons = []
    if any("winograd" in kernel for kernel in above):
        reasons.append("Winograd kernels, whose arithmetic is counted as the direct convolution's")
    if above and precision != "float32":
        reasons.append(f"{precision} kernels: the peak is float32's")
    return " and ".join(reasons) or None


def _row(call: dict, seconds: float, total: float, peak: float) -> dict:
    moved = sum(view["nbytes"] or 0 for view in (*call["inputs"], *call["outputs"]))
    gflops = call["flops"] / seconds / 1e9 if call["flops"] and seconds else None
    return {
        "kernel": call["kernel"],
        "output": _output(call),
        "seconds": seconds,
        "share": seconds / total,
        "gflops": gflops,
        "share_of_peak": gflops / peak if gflops else None,
        "bytes": moved,
        "gbytes_per_second": moved / seconds / 1e9 if seconds else None,
    }


def shape_text(shape) -> str:
    """``128x40x40``: without a batch of one."""
    return "x".join(map(str, shape[1:] if len(shape) > 1 and shape[0] == 1 else shape))


def _output(call: dict) -> list:
    """Shape of a call's first output; (n, c / b, h, w, b) of a blocked convolution or pool as (n, c, h, w)."""
    shape = list(call["outputs"][0]["shape"])
    if len(shape) == 5 and any(word in call["kernel"] for word in BLOCKED):
        n, blocks, height, width, block = shape
        return [n, blocks * block, height, width]
    return shape


def _peak(target: str) -> float:
    from ..targets import resolve_target
    from ..tuning import host

    return host.peak_gflops(resolve_target(target))
