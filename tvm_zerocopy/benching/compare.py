"""A result against an older one: what changed beyond noise."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import SourceError
from .statistics import change

SAME = ("cpu", "threads", "model_sha256", "frames")  # of the environment, for times to be comparable


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
    return result


def compare(old: dict, new: dict) -> dict:
    """Plain data: each engine that ran in both with ratio of medians, its interval and the verdict."""
    before = {row["name"]: row for row in old["engines"] if row["status"] == "ran"}
    rows = []
    for row in new["engines"]:
        if row["status"] == "ran" and row["name"] in before:
            past = before[row["name"]]
            found = change(past["seconds"], row["seconds"])
            rows.append(
                {
                    "name": row["name"],
                    "title": row["title"],
                    "old_median": past["median"],
                    "new_median": row["median"],
                    "ratio": found.ratio,
                    "low": found.low,
                    "high": found.high,
                    "verdict": found.verdict,
                }
            )
    a, b = old["environment"], new["environment"]
    differs = [f"{key}: {a.get(key)} then, {b.get(key)} now" for key in SAME if a.get(key) != b.get(key)]
    return {"date": a.get("date"), "engines": rows, "differs": differs}
