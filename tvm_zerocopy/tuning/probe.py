"""One small kernel built, sent and run as a candidate, before a log is filled with candidates that cannot run.

What fails on every candidate alike (a device of another machine, a TVM there without CUDA, a driver that is too old)
would otherwise be recorded as the candidates' own fault, and no later run would try them again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tvm import te
from tvm.ir import IRModule
from tvm.s_tir import Schedule
from tvm.s_tir.meta_schedule.arg_info import ArgInfo
from tvm.s_tir.meta_schedule.builder import BuilderInput
from tvm.s_tir.meta_schedule.runner import RunnerInput

from ..errors import UnsupportedError

LENGTH, THREADS = 64, 32


def require_runs(builder, runner, target, key: str) -> None:
    """Build and run one kernel as tuning does.

    Parameters
    ----------
    builder, runner : MetaSchedule's
    target : tvm.target.Target
    key : str
        The device's at its tracker.

    Raises
    ------
    UnsupportedError
        If it cannot be built here, or the device does not run it.
    """
    gpu = target.kind.name == "cuda"
    module = _kernel(gpu)
    (built,) = builder.build([BuilderInput(module, target)])
    if built.error_msg:
        raise UnsupportedError(f"nothing can be built for this target: {_reason(built.error_msg)}")
    try:
        wanted = RunnerInput(built.artifact_path, "cuda" if gpu else "cpu", ArgInfo.from_entry_func(module))
        result = runner.run([wanted])[0].result()
    finally:
        shutil.rmtree(Path(built.artifact_path).parent, ignore_errors=True)
    if result.error_msg:
        raise UnsupportedError(
            f"the device with key {key!r} does not run code for target {_name(target)}: {_reason(result.error_msg)}; "
            "it must be such a device, with this TVM and a runtime for the target (docs/jetson.md)"
        )


def _kernel(gpu: bool) -> IRModule:
    data = te.placeholder((LENGTH,), "float32", name="data")
    schedule = Schedule(te.create_prim_func([data, te.compute((LENGTH,), lambda i: data[i] + 1.0, name="out")]))
    if gpu:
        (loop,) = schedule.get_loops(schedule.get_sblock("out"))
        outer, inner = schedule.split(loop, [None, THREADS])
        schedule.bind(outer, "blockIdx.x")
        schedule.bind(inner, "threadIdx.x")
    return schedule.mod


def _name(target) -> str:
    host = target.host or target
    parts = [target.kind.name, target.attrs.get("arch"), host.attrs.get("mtriple"), host.attrs.get("mcpu")]
    return " ".join(str(part) for part in parts if part)


def _reason(message: str) -> str:
    """TVM's last line, which names the cause; above it are its frames."""
    lines = [line.strip() for line in str(message).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"
