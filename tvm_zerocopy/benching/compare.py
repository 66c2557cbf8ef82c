"""A result against an older one: what changed beyond noise."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from ..errors import SourceError
from .statistics import LEAST_PROCESSES, PROCESS_NOISE, change

SAME = ("cpu", "threads", "model_sha256", "frames")  # of the environment, for times to be comparable
_OPENCV = ("opencv-python-headless", "opencv-python", "numpy")
# What an engine's time depends on, by the first word of its name. What runs code of this project is missing.
PACKAGES_OF = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", *_OPENCV),
    "openvino": ("openvino", *_OPENCV),
    "pytorch": ("torch", "onnx2torch", *_OPENCV),
    "tensorrt": ("tensorrt", *_OPENCV),
}


def read_result(path: str) -> dict:
    """A result that ``bench --json`` wrote.

    Raises
    ------
    SourceError
        If it cannot be read or is something else.
    """
    try:
        result = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror or error}; give what `bench --json` wrote") from None
    except ValueError as error:
        raise SourceError(f"{path} is not JSON ({error}); give what `bench --json` wrote") from None
    if not isinstance(result, dict) or result.get("kind") != "bench" or not isinstance(result.get("engines"), list):
        raise SourceError(f"{path} is not a result of bench; give what `bench --json` wrote")
    try:
        compare(result, result)
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise SourceError(f"{path} is no whole result of bench ({error!r}); give what `bench --json` wrote") from None
    return result


def compare(old: dict, new: dict) -> dict:
    """Plain data: each engine that ran in both with ratio of medians, its interval and the verdict.

    A peer whose packages are the same in both is a control: nothing but the machine can have changed it. What the
    intervals do not know, another state of the machine, is at least what a control has moved.
    """
    before = {row["name"]: row for row in old["engines"] if row["status"] == "ran"}
    pairs = [(before[row["name"]], row) for row in new["engines"] if row["status"] == "ran" and row["name"] in before]
    a, b = old["environment"], new["environment"]
    controls = [pair for pair in pairs if _is_control(pair[1]["name"], a.get("versions", {}), b.get("versions", {}))]
    moved = {now["name"]: max(past["median"] / now["median"], now["median"] / past["median"]) for past, now in controls}
    rows = []
    for past, now in pairs:
        others = [by for name, by in moved.items() if name != now["name"]]
        found = change(_processes(past), _processes(now), max([0.0, *(by - 1 for by in others)]))
        rows.append(
            {
                "name": now["name"],
                "title": now["title"],
                "old_median": past["median"],
                "new_median": now["median"],
                "ratio": found.ratio,
                "low": found.low,
                "high": found.high,
                "floor": found.floor,
                "control": now["name"] in moved,
                "verdict": found.verdict,
            }
        )
    differs = [
        f"{key}: {_short(a.get(key))} then, {_short(b.get(key))} now" for key in SAME if a.get(key) != b.get(key)
    ]
    fewest = min((len(_processes(row)) for pair in pairs for row in pair), default=0)
    facts = {"date": a.get("date"), "controls": list(moved), "processes": fewest, "differs": differs}
    return {**facts, "engines": rows}


def noise(comparison: dict) -> str:
    """What a comparison takes for noise, in words."""
    if comparison["processes"] >= LEAST_PROCESSES:
        text = f"of the medians of {comparison['processes']} processes and more"
    else:
        text = (
            f"of the frames in both runs; processes of one program are taken to differ by {PROCESS_NOISE:.0%} "
            f"(--processes 5 in both runs measures that instead)"
        )
    if comparison["controls"]:
        text += f"; noise is at least what an unchanged peer moved ({', '.join(comparison['controls'])})"
    return text


def _short(value) -> str:
    """A digest by its beginning."""
    text = str(value)
    return text[:12] if len(text) == 64 else text


def _processes(row: dict) -> list:
    """The seconds of each process; results of older versions had one."""
    ends = list(itertools.accumulate(row.get("processes") or [len(row["seconds"])]))
    return [row["seconds"][begin:end] for begin, end in zip([0, *ends], ends)]


def _is_control(name: str, old: dict, new: dict) -> bool:
    """A peer of which no package has changed, by the versions that both environments note."""
    packages = PACKAGES_OF.get(name.split("-")[0])
    return packages is not None and all(old.get(package) == new.get(package) for package in packages)
