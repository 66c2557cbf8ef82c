"""From what the user gives to the Work of a race: frames, the compiled engine, its artifact."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..artifact import load
from ..embedded import sample_pictures
from ..errors import FrameError, ModelError, SourceError
from ..sources import SourceFrame, open_source
from ..sources.convert import as_compiled, to_rgb
from ..specs import Frame
from .work import Work

DEFAULT_SIZE = (1920, 1080)  # width, height
FRAMES = 4  # different frames that are shown in turn


@dataclass(frozen=True)
class Frames:
    """Frames of one size; ``text`` says what they are, for the reader of a result."""

    arrays: tuple
    spec: Frame
    text: str


def sample_frames(color: Frame, size=DEFAULT_SIZE, count: int = FRAMES) -> Frames:
    """The embedded sample pictures, scaled to ``size`` (width, height), in the format and colour of ``color``."""
    pictures = []
    for path in sample_pictures()[:count]:
        with Image.open(path) as picture:
            pictures.append(np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR)))
    return _as_frames(pictures, color, "sample pictures")


def source_frames(source: str, color: Frame, count: int = FRAMES) -> Frames:
    """The first frames of a picture, folder or video, as far as they are of one size.

    Raises
    ------
    SourceError
        If there is none.
    """

    pictures = []
    with open_source(source) as opened:
        for frame in opened:
            picture = np.array(to_rgb(frame))
            if pictures and picture.shape != pictures[0].shape:
                break
            pictures.append(picture)
            if len(pictures) == count:
                break
    if not pictures:
        raise SourceError(f"{source} has no frames; give a picture, a folder of pictures or a video")
    return _as_frames(pictures, color, Path(source).name)


def _as_frames(pictures, color: Frame, text: str) -> Frames:
    if color.planes or color.batch > 1:
        raise FrameError("bench takes one frame in one tensor at a time; compile the model for that")
    height, width = pictures[0].shape[:2]
    spec = dataclasses.replace(color, height=height, width=width)
    source = Frame("rgb8", height, width)
    arrays = tuple(as_compiled(SourceFrame((picture,), source, text), spec).planes[0] for picture in pictures)
    return Frames(arrays, spec, f"{len(arrays)} x {spec.format} {width}x{height}, {text}")


def work_of_model(model: str, frames: Frames, folder: str, threads: int, options: dict, progress=None):
    """Compile the ONNX model for these frames; the Work, and the engine."""
    from ..compiler import compile as compile_model
    from ..frontend import import_onnx

    begin = time.perf_counter()
    engine = compile_model(model, frame=frames.spec, progress=progress, **options)
    seconds = time.perf_counter() - begin
    artifact = str(Path(folder) / "ours.so")
    engine.export(artifact)
    imported = import_onnx(model, options.get("shapes"))
    given = (imported.input_name, tuple(imported.input_shape))
    return _work(engine, str(Path(model).resolve()), artifact, seconds, given, frames, folder, threads), engine


def work_of_artifact(artifact: str, frames: Frames, folder: str, threads: int):
    """The Work of a compiled artifact, which only this project's engine can do, and the engine."""
    engine = load(artifact)
    path = str(Path(artifact).resolve())
    return _work(engine, None, path, None, ("", ()), frames, folder, threads), engine


def color_of_artifact(artifact: str) -> Frame:
    """The frame that an artifact was compiled for.

    Raises
    ------
    ModelError
        If it takes no frames.
    """
    engine = load(artifact)
    if engine.frame is None:
        raise ModelError(f"{artifact} was compiled without a frame; compile the model again with one")
    return engine.frame


def _work(engine, model, artifact, seconds, given, frames: Frames, folder: str, threads: int) -> Work:
    work = Work(
        folder=str(folder),
        frames=len(frames.arrays),
        model=model,
        artifact=artifact,
        compile_seconds=seconds,
        input_name=given[0],
        input_shape=given[1],
        frame=frames.spec,
        preprocess=engine.preprocess,
        postprocess=engine.postprocess,
        threads=threads,
    )
    work.save_frames(frames.arrays)
    return work
