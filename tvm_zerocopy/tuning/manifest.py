"""The manifest beside each published log: who measured, on what, with which TVM, and what came out."""

from __future__ import annotations

import datetime
import json
from importlib import metadata
from pathlib import Path

import numpy as np
import tvm
from tvm.target import Target, codegen

from ..errors import ArtifactError
from ..ir_build import intermediate_representation

MANIFEST = "manifest.json"
FORMAT = 1
METASCHEDULE = "metaschedule"  # the tuner of manifests that name none
# How a record's time came about: on a device of the target's kind here, on one through RPC, on a GPU of another
# architecture, or predicted by a static model.
PREDICTED = "predicted"
MEASURED = ("local", "rpc", "other_arch", PREDICTED)
PACKAGES = ("tvm-zerocopy", "apache-tvm", "apache-tvm-ffi", "hhb-tvm", "xgboost-cpu", "xgboost")
# CPU features that decide which vector code a float32 kernel becomes; a log is valid where these are present.
DECISIVE_FEATURES = ("avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl", "neon")


def features(target: Target) -> list[str]:
    """What a target's device must have for a log of it to be of use elsewhere."""
    present = _present(target)
    return [f for f in DECISIVE_FEATURES if f in present] if target.kind.name == "llvm" else sorted(present)


def missing_features(features: list[str], target: Target) -> list[str]:
    """Those of a log's features that the target's device lacks; also of logs that name more than are decisive today."""
    return sorted(set(features) - _present(target))


def _present(target: Target) -> set[str]:
    if target.kind.name == "llvm":
        return {str(f).split("/")[-1] for f in codegen.llvm_get_cpu_features(target)}
    return {str(target.attrs["arch"])} if "arch" in target.attrs else set()


def describe(
    best: dict,
    tasks,
    target: Target,
    *,
    model: str,
    measured: str,
    device: str,
    threads: int,
    command: str,
    tuner: str = METASCHEDULE,
    confirmation=None,
):
    """The manifest of a log as a dictionary.

    Parameters
    ----------
    best : dict of workload hash to float
        Seconds of the fastest record of each workload in the log.
    tasks : list of tasks
        The model's tasks, for names, run counts and FLOP.
    measured : one of ``MEASURED``
    tuner : str
        Whose records the log holds.
    confirmation : confirm.Confirmation or None
        How the records compare with the schedules' defaults inside the network.
    """
    rows = []
    confirmed = {item.task.hash: item for item in confirmation.kernels} if confirmation is not None else {}
    for task in tasks:
        if task.hash in best:
            seconds = best[task.hash]
            rate = round(task.flop / seconds / 1e9, 1)
            row = {"hash": task.hash, "name": task.name, "runs": task.weight, "flop": task.flop}
            row.update(best_ms=round(seconds * 1e3, 5), gflops=rate)
            if task.hash in confirmed:
                item = confirmed[task.hash]
                row["default_ms"] = round(item.default_seconds * 1e3, 5)
                row["ratio"] = item.ratio.to_list() if item.ratio is not None else None
            rows.append(row)
    total = float(np.sum([row["best_ms"] * row["runs"] for row in rows]))
    versions = [(name, _version(name)) for name in PACKAGES]
    flop = float(np.sum([row["flop"] * row["runs"] for row in rows]))
    return {
        "format": FORMAT,
        "model": model,
        "tuner": tuner,
        "ir": intermediate_representation(),
        "target": target_fields(target),
        "features": features(target),
        "device": device,
        "threads": threads,
        "measured": measured,
        **({"in_network": confirmation.to_dict()} if confirmation is not None else {}),
        "versions": {"tvm": tvm.__version__, **{name: version for name, version in versions if version}},
        "date": datetime.date.today().isoformat(),
        "command": command,
        "figures": {"tuned_kernels_ms": round(total, 3), "gflops": round(flop / total / 1e6, 1) if total else 0.0},
        "workloads": rows,
    }


def target_fields(target: Target) -> dict:
    """The target as plain data: what makes it again."""
    text = str(target)
    return json.loads(text) if text.startswith("{") else _plain(target.export())  # TVM up to 0.19 writes options


def _plain(value):
    if hasattr(value, "items"):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return str(value)
    if hasattr(value, "value"):  # IntImm
        return int(value)
    return [_plain(item) for item in value] if hasattr(value, "__getitem__") else value


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
