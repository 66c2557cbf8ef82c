"""The published logs in this installation, and which of them suit a target."""

from __future__ import annotations

from pathlib import Path

from .. import tuning_logs
from ..errors import ArtifactError, ZeroCopyError
from ..ir_build import intermediate_representation
from . import manifest

REJECTED = "rejected_lines.txt"  # beside a log: lines of it that could not be read
PUBLISHED = Path(tuning_logs.__path__[0])


def folders() -> list[Path]:
    """Every published log, by name."""
    return sorted(path.parent for path in PUBLISHED.glob(f"*/*/{manifest.MANIFEST}"))


def name_of(folder: Path) -> str:
    """``target/model``."""
    return f"{folder.parent.name}/{folder.name}"


def suitable(target, tuner: str) -> tuple[list[Path], list[str]]:
    """The logs of one tuner that are valid on a target, and problems.

    First what was measured, then what was predicted; among those, first what was tuned on the same CPU or GPU.

    A CPU's log decides how many tasks a kernel has for the cores: it is left out where the target has more of them.
    """
    cores, here = _cores(target.attrs), intermediate_representation()
    found, problems, fewer_cores = [], [], []
    for folder in folders():
        try:
            facts = manifest.read(folder)
        except ZeroCopyError as error:
            problems.append(f"{name_of(folder)}: {error}")
            continue
        right_tuner = facts.get("tuner", manifest.METASCHEDULE) == tuner and facts.get("ir", here) == here
        right_kind = facts["target"]["kind"] == target.kind.name
        if right_tuner and right_kind and not manifest.missing_features(facts["features"], target):
            if 0 < _cores(facts["target"]) < cores:
                fewer_cores.append(name_of(folder))
                continue
            same = facts["target"].get("mcpu") == target.attrs.get("mcpu")
            found.append(
                (facts["measured"] == manifest.PREDICTED, not same, -len(facts["features"]), name_of(folder), folder)
            )
    if fewer_cores:
        problems.append(f"{', '.join(fewer_cores)}: tuned on fewer cores than the target's {cores}")
    return [folder for *_, folder in sorted(found)], problems


def is_predicted(folder: Path) -> bool:
    """Whether a log's times come from the static model; a log without a manifest was measured by its user."""
    return (folder / manifest.MANIFEST).exists() and manifest.read(folder)["measured"] == manifest.PREDICTED


def _cores(attrs) -> int:
    """Of a target's attributes; 0 where they do not tell."""
    return int(attrs.get("num-cores") or 0)


def mismatch(folder: Path, target) -> list[str]:
    """What a log that the user names was tuned for and this target lacks, as one line; empty if all is well."""
    if not (folder / manifest.MANIFEST).exists():
        return []
    missing = manifest.missing_features(manifest.read(folder)["features"], target)
    return [f"tuned for a CPU with {', '.join(missing)}, which this target lacks"] if missing else []


def log_folder(path, records: str, wanted: str) -> Path:
    """The folder of a log that was named by itself or by a file in it.

    Parameters
    ----------
    path : path
    records : str
        Name of the file with the records.
    wanted : str
        What such a folder holds, for the message.

    Raises
    ------
    ArtifactError
        If there is no log.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not path.exists() or not (folder / records).exists():
        raise ArtifactError(f"{path} is not a tuning log; give a folder with {wanted}")
    return folder
