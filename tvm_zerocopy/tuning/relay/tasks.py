"""Tuning tasks of a Relay module, and the module that a model's tasks come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tvm

from ...errors import ZeroCopyError
from ...frontend import import_onnx
from ...passes.relay.fuse_detection_head import recognize_head
from ...relay.pipeline import pipeline
from ...specs import Frame, Nms, Preprocess


@dataclass
class RelayTask:
    """One kernel to tune; what views and manifests read is that of ``tuning.tasks.Task``.

    Attributes
    ----------
    name : str
    hash : str
        Of the workload; records carry it.
    weight : int
        How often it runs in a frame.
    flop : float
        Floating-point operations of one run, as TVM counts them.
    native : object
        AutoTVM's ``Task``, Ansor's ``SearchTask`` or MetaSchedule's ``ExtractedTask``.
    points : int
        0: the search makes its own space.
    """

    name: str
    hash: str
    weight: int
    flop: float
    native: Any
    points: int = 0


def model_module(model, target: tvm.target.Target, shapes=None) -> tvm.IRModule:
    """A model as ``tvm_zerocopy.compile`` gives it to ``relay.build`` for a target.

    The frame does not matter: the preprocessing kernel brings its own schedule. A model without a recognizable
    detection head is tuned for its raw outputs.

    Raises
    ------
    ModelError
        As ``tvm_zerocopy.compile`` does.
    """
    imported = import_onnx(model, shapes, 1)
    try:
        head = recognize_head(imported.module)
    except ZeroCopyError:
        head = None
    convention = Preprocess.yolox if head is not None and head.name == "yolox" else Preprocess
    passes = pipeline(Frame("bgr8", 720, 1280), convention(layout=imported.layout), Nms() if head else None, target)
    with target:
        return tvm.transform.Sequential(passes)(imported.module)
