"""The manifest beside each published log: who measured, on what, with which TVM, and what came out."""

from __future__ import annotations

import datetime
import json
from importlib import metadata
from pathlib import Path

import numpy as np
from tvm.s_tir.meta_schedule.utils import shash2hex
from tvm.target import Target, codegen

from ..errors import ArtifactError
from . import log

MANIFEST = "manifest.json"
FORMAT = 1
# How a record's time came about: on a device of the target's kind here, on one through RPC, on a GPU of another
# architecture, or predicted by a static model.
MEASURED = ("local", "rpc", "other_arch", "predicted")
PACKAGES = ("tvm-zerocopy", "apache-tvm", "apache-tvm-ffi", "xgboost-cpu", "xgboost")
# CPU features that decide which vector code a kernel becomes; a log is valid where these are present.
DECISIVE_FEATURES = ("avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512bf16", "neon", "bf16")


def features(target: Target) -> list[str]:
    """What a target's device must have for a log of it to be of use elsewhere."""
    if target.kind.name == "llvm":
        present = {str(f).split("/")[-1] for f in codegen.llvm_get_cpu_features(target)}
        return [f for f in DECISIVE_FEATURES if f in present]
    return [str(target.attrs["arch"])] if "arch" in target.attrs else []


def describe(records, tasks, target: Target, *, model: str, measured: str, device: str, threads: int, command: str):
    """The manifest of a log as a dictionary.

    Parameters
    ----------
    records : list of TuningRecord
        What the log holds.
    tasks : list of Task
        The model's tasks, for names, run counts and FLOP.
    measured : one of ``MEASURED``
    """
    best = {shash2hex(r.workload.mod): log.seconds(r) for r in log.best(records)}
    rows = []
    for task in tasks:
        if task.hash in best:
            seconds = best[task.hash]
            rate = round(task.flop / seconds / 1e9, 1)
            row = {"hash": task.hash, "name": task.name, "runs": task.weight, "flop": task.flop}
            rows.append({**row, "best_ms": round(seconds * 1e3, 5), "gflops": rate})
    total = float(np.sum([row["best_ms"] * row["runs"] for row in rows]))
    flop = float(np.sum([row["flop"] * row["runs"] for row in rows]))
    return {
        "format": FORMAT,
        "model": model,
        "target": json.loads(str(target)),
        "features": features(target),
        "device": device,
        "threads": threads,
        "measured": measured,
        "versions": {name: version for name in PACKAGES for version in [_version(name)] if version},
        "date": datetime.date.today().isoformat(),
        "command": command,
        "figures": {"tuned_kernels_ms": round(total, 3), "gflops": round(flop / total / 1e6, 1) if total else 0.0},
        "workloads": rows,
    }


def write(folder, manifest: dict) -> None:
    text = json.dumps(manifest, indent=1) + "\n"
    (Path(folder) / MANIFEST).write_text(text, encoding="utf-8")


def read(folder) -> dict:
    """A log's manifest.

    Raises
    ------
    ArtifactError
        If it is missing, not JSON, or of a format this version does not know.
    """
    path = Path(folder) / MANIFEST
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ArtifactError(f"{path} is missing; a published log is a folder with records and a {MANIFEST}") from None
    except (ValueError, OSError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); publish the log again with tune --publish") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ArtifactError(f"{path} is of another format; this version reads format {FORMAT}")
    return manifest


def _version(package: str):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
