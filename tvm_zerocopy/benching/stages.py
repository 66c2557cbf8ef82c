"""Where the time of a frame goes: capture, preprocess, inference, post-process, draw.

The compiled program is not taken apart for that: its kernels run as always and the clock is read between them.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from ..draw import draw
from ..errors import SourceError
from ..sources import open_source
from ..sources.convert import as_compiled, to_rgb
from .statistics import Summary

STAGES = ("capture", "preprocess", "inference", "post-process", "draw")
POSTPROCESS_KERNELS = ("filter_candidates", "select_detections")  # what FuseDetectionHead makes


def measure(source: str, engine_for, warmup: int, frames: int, progress=lambda text, done, total: None) -> dict:
    """Plain data: median and 99th percentile of each stage, the bottleneck, and the plain call to hold them against.

    Parameters
    ----------
    source : str
        A picture, a folder, a video or a camera (its device or number); shorter ones are read again and again. A
        camera's capture includes the wait for its next frame.
    engine_for : callable
        Called once with the first frame's Frame; gives the engine that detects in frames of the source.
    """
    times = {name: [] for name in STAGES}
    calls, engine, stage_of = [], None, []
    for index, (frame, captured) in enumerate(_frames(source, warmup + frames)):
        progress("stages", index, warmup + frames)
        if engine is None:
            engine = engine_for(frame.spec)
            stage_of = kernel_stages(engine.program)
        begin = time.perf_counter()
        planes = as_compiled(frame, engine.frame).planes
        converted = time.perf_counter() - begin
        given = planes if len(planes) > 1 else planes[0]
        begin = time.perf_counter()
        found = engine(given)
        called = time.perf_counter() - begin
        kernels = [seconds for _, seconds in engine.time_kernels(given)]
        begin = time.perf_counter()
        picture = to_rgb(frame)
        if engine.postprocess is not None:
            draw(picture, found.boxes, found.scores, found.classes, engine.names)
        drawn = time.perf_counter() - begin
        if index < warmup:
            continue
        calls.append(called)
        times["capture"].append(captured + converted)
        times["draw"].append(drawn)
        for stage in STAGES[1:4]:
            times[stage].append(sum(seconds for seconds, name in zip(kernels, stage_of) if name == stage))
    rows = [{"name": name, **Summary.of(values).to_dict()} for name, values in times.items()]
    bottleneck = max(rows, key=lambda row: row["median"])
    total = float(np.sum([row["median"] for row in rows]))
    return {
        "source": Path(source).name,
        "frames": frames,
        "camera": is_camera(source),
        "rows": rows,
        "seconds": total,
        "bottleneck": bottleneck["name"],
        "bottleneck_share": bottleneck["median"] / total,
        "call": Summary.of(calls).to_dict(),
    }


def is_camera(source: str) -> bool:
    """A device, or a number that is no file's name."""
    return source.startswith("/dev/video") or (source.isdecimal() and not Path(source).exists())


def kernel_stages(program: dict) -> list[str]:
    """The stage of each call: what reads the frame is preprocess; choosing candidates and NMS are post-process.

    The head's decode is inference: it is fused with the last convolutions.
    """
    return [
        "preprocess"
        if call["kernel"].startswith("preprocess") or any(view["in"] == "input" for view in call["inputs"])
        else "post-process"
        if call["kernel"].startswith(POSTPROCESS_KERNELS)
        else "inference"
        for call in program["calls"]
    ]


def _frames(source: str, count: int):
    """``count`` frames with the seconds that reading and decoding each took."""
    done = 0
    while done < count:
        with open_source(source, camera=is_camera(source)) as opened:
            before = done
            frames = iter(opened)
            while done < count:
                begin = time.perf_counter()
                frame = next(frames, None)
                seconds = time.perf_counter() - begin
                if frame is None:
                    break
                yield frame, seconds
                done += 1
        if done == before:
            raise SourceError(f"{source} has no frames; give a picture, a folder of pictures or a video")
