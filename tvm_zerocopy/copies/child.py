"""The measured process: sets a pipeline up, runs it until it is warm, then counts frame after frame, step by step.

Started by `measure.measure` with the counting library preloaded; not for people.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys

from ..errors import ZeroCopyError
from .counter import Counter


def main() -> int:
    request = json.loads(sys.argv[1])
    try:
        answer = run(**request["measure"])
    except ZeroCopyError as error:
        answer = {"error": type(error).__name__, "message": str(error)}
    with open(request["answer"], "w", encoding="utf-8") as file:
        json.dump(answer, file)
    return 0


def run(pipeline: str, arguments: dict, frames: int, warmup: int) -> dict:
    """Count ``frames`` frames of ``pipeline`` ("module:function", giving ``[(step's name, callable), ...]``)."""
    module, function = pipeline.split(":")
    steps = getattr(importlib.import_module(module), function)(**arguments)
    counter = Counter()
    # An empty step first: what the measuring itself allocates. It must be nothing.
    calls = [_nothing, *(call for _, call in steps)]
    for _ in range(warmup):
        made = _frame(calls, counter.count, -1)
    gc.collect()
    gc.disable()
    for _ in range(frames):
        _frame(calls, counter.count, 0)
    sites = counter.sites()
    return {"steps": ["(nothing)", *(name for name, _ in steps)], "made": made, "frames": frames, "sites": sites}


def _frame(calls, count, first: int) -> list:
    """Run one frame, counting if ``first`` is 0; the bytes of the array that each step made."""
    made = []
    for index, call in enumerate(calls):
        count(index if first == 0 else -1)
        result = call()
        count(-1)
        made.append(getattr(result, "nbytes", 0))
    return made


def _nothing() -> None:
    pass


if __name__ == "__main__":
    raise SystemExit(main())
