"""The model that ``detect`` runs: an artifact as it is, or an ONNX model compiled for the frames that come."""

import time
from dataclasses import replace
from typing import Dict, Optional, Tuple

from ..class_names import names_from_file
from ..errors import ModelError
from ..sources import SourceFrame
from ..sources.convert import as_compiled
from ..specs import Frame
from . import UsageError, common, model_options
from .detect_report import Found


class ModelInUse:
    """Opens the model of ``--model`` at once, so that a wrong one is known before any frame is read.

    Attributes
    ----------
    names : tuple of str or None
        Class names; of an ONNX model they are known once a frame has come.
    compile_seconds : float
        Spent on compiling so far.
    """

    def __init__(self, args):
        self._args = args
        self.names: Optional[Tuple[str, ...]] = names_from_file(args.names) if args.names else None
        self._engines: Dict[Frame, object] = {}
        self._artifact = self._onnx = None
        self.compile_seconds = 0.0
        if args.model is not None and model_options.is_artifact(args.model):
            self._artifact = self._load(args.model)
        else:
            from ..onnx_file import read_onnx

            if args.model is None:
                from ..embedded import model_path
            self._onnx = read_onnx(args.model or model_path())

    def detect(self, frame: SourceFrame) -> Tuple[Found, float]:
        """Detections in pixels of the frame, and the seconds from frame to boxes (compilation not counted)."""
        if self._artifact is not None:
            frame = as_compiled(frame, self._artifact.frame)
        engine = self._artifact or self._engine_for(frame.spec)
        begin = time.perf_counter()
        result = engine(frame.planes if len(frame.planes) > 1 else frame.planes[0])
        seconds = time.perf_counter() - begin
        return Found(result.boxes, result.scores, result.classes), seconds

    def _load(self, path: str):
        from ..artifact import load

        option = model_options.first_compiled_in(self._args)
        if option:
            raise UsageError(
                f"{option} is compiled into {path}; give the ONNX model, or compile it again with {option}"
            )
        engine = load(path)
        if engine.postprocess is None:
            raise ModelError(f"{path} gives raw outputs, not detections; compile the model again without --raw")
        if engine.frame.batch != 1:
            raise ModelError(f"{path} takes {engine.frame.batch} frames at a time; compile the model for one")
        if self.names and engine.names and len(self.names) != len(engine.names):
            raise ModelError(
                f"--names {self._args.names} has {len(self.names)} names and {path} has {len(engine.names)} classes; "
                "give one for each"
            )
        self._take_names(engine)
        return engine

    def _engine_for(self, spec: Frame):
        """Pictures share one program for any size; moving pictures get one for exactly theirs."""
        if spec.format == "rgb8":
            spec = replace(spec, height=None, width=None)
        if spec not in self._engines:
            begin = time.perf_counter()  # TVM's import is part of what compiling takes
            from .. import compile as compile_model

            with common.Steps("compiling") as steps:
                self._engines[spec] = compile_model(
                    self._onnx,
                    frame=spec,
                    postprocess=model_options.nms(self._args),
                    progress=steps.advance,
                    **model_options.compile_options(self._args),
                )
            self._take_names(self._engines[spec])
            self.compile_seconds += time.perf_counter() - begin
        return self._engines[spec]

    def _take_names(self, engine) -> None:
        self.names = self.names or engine.names
