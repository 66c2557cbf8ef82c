"""Tuning for a GPU that is not here: candidates are compiled with ptxas and their time is predicted, not measured.

The prediction is ``kernel_model.predict``'s: from the candidate's tiling, occupancy, traffic and instruction mix.
Records made this way say ``predicted`` in their manifest.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.runner import PyRunner, PyRunnerFuture, RunnerResult

from ..errors import UnsupportedError
from .intrinsics import import_intrinsics

# For one candidate. Nothing is timed, so other work on the machine may take as long as it likes.
TIMEOUT = 600.0
FIELDS = ("name", "registers", "spill_bytes", "occupancy", "predicted_seconds", "predicted_bound")


def predict_candidate(mod_json: str, target_json: dict, intrinsics: bool) -> str:
    """In a worker: compile one candidate, predict its time, and write both down; the file's path.

    Raises
    ------
    UnsupportedError
        If the candidate does not compile or its blocks do not fit on an SM.
    """
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock
    from tvm.target import Target

    if intrinsics:
        import_intrinsics()
    mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(tvm.ir.load_json(mod_json))
    report = predict_module(mod, Target(target_json))
    path = Path(tempfile.mkdtemp(prefix="tvm_zerocopy_candidate_")) / "predicted.json"
    rows = [{field: getattr(row, field) for field in FIELDS} for row in report.kernels]
    path.write_text(json.dumps({"seconds": report.predicted_seconds, "kernels": rows}), encoding="utf-8")
    return str(path)


def predict_module(mod, target):
    """The report of one scheduled kernel: ``kernel_model.report.Report``.

    Parameters
    ----------
    mod : tvm.IRModule
        One scheduled function, ``main``.
    target : tvm.target.Target
        A CUDA GPU with its host.

    Raises
    ------
    UnsupportedError
        If the kernel does not compile, asks for more than a block may have, or is no GPU kernel at all.
    """
    from ..kernel_model.report import device_functions, gpu_report

    device_mods = device_functions(mod["main"], target)
    if not device_mods:
        raise UnsupportedError("the candidate launches no kernel")
    report = gpu_report(device_mods, {})
    for row in report.kernels:
        threads = row.block[0] * row.block[1] * row.block[2]
        most = int(target.attrs.get("max_num_threads", 1024))
        if threads > most:
            raise UnsupportedError(f"{row.name} has {threads} threads a block; {most} are allowed")
        if row.predicted_seconds == float("inf"):
            raise UnsupportedError(f"{row.name} does not fit on an SM: too much {row.predicted_bound}")
    return report


@derived_object
class Predicted(PyRunnerFuture):
    """A result that is there already."""

    def __init__(self, result: RunnerResult) -> None:
        super().__init__()
        self._outcome = result

    def done(self) -> bool:
        return True

    def result(self) -> RunnerResult:
        return self._outcome


@derived_object
class StaticRunner(PyRunner):
    """Gives the times that `predict_candidate` wrote; for ``WorkerPoolBuilder(build=predict_candidate)``."""

    def run(self, runner_inputs) -> list:
        return [Predicted(_read(str(item.artifact_path))) for item in runner_inputs]


def _read(path: str) -> RunnerResult:
    try:
        return RunnerResult([float(json.loads(Path(path).read_text(encoding="utf-8"))["seconds"])], None)
    except (OSError, ValueError, KeyError) as error:
        return RunnerResult(None, f"the prediction in {os.path.basename(path)} cannot be read: {error}")


def static_runner() -> ms.Runner:
    """The runner for targets without a device."""
    return StaticRunner()
