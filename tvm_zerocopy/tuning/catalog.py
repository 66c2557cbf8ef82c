"""The published logs in this installation, and which of them suit a target."""

from __future__ import annotations

from pathlib import Path

from .. import tuning_logs
from ..errors import ArtifactError, ZeroCopyError
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
    """The logs of one tuner that are valid on a target, those tuned on the same CPU or GPU first; and problems."""
    have = set(manifest.features(target))
    found, problems = [], []
    for folder in folders():
        try:
            facts = manifest.read(folder)
        except ZeroCopyError as error:
            problems.append(f"{name_of(folder)}: {error}")
            continue
        right_tuner = facts.get("tuner", manifest.METASCHEDULE) == tuner
        if right_tuner and facts["target"]["kind"] == target.kind.name and set(facts["features"]) <= have:
            same = facts["target"].get("mcpu") == target.attrs.get("mcpu")
            found.append((not same, -len(facts["features"]), name_of(folder), folder))
    return [folder for *_, folder in sorted(found)], problems


def mismatch(folder: Path, target) -> list[str]:
    """What a log that the user names was tuned for and this target lacks, as one line; empty if all is well."""
    if not (folder / manifest.MANIFEST).exists():
        return []
    missing = sorted(set(manifest.read(folder)["features"]) - set(manifest.features(target)))
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
