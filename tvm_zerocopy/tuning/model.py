"""From a model to its tuning tasks: the compile pipeline up to the step that schedules kernels."""

from __future__ import annotations

import tvm

from ..declared import default_preprocess
from ..errors import ZeroCopyError
from ..frontend import import_onnx
from ..passes.fuse_detection_head import recognize_head
from ..pipeline import pipeline
from ..specs import Frame, Nms
from .tasks import Task, extract_tasks

SCHEDULING = "ApplySchedules"


def model_tasks(model, target: tvm.target.Target, shapes=None) -> tuple[list[Task], list]:
    """A model's distinct kernels and the schedule rules for them.

    The frame does not matter: the preprocessing kernel brings its own schedule. A model without a recognizable
    detection head is tuned for its raw outputs.

    Parameters
    ----------
    model : path or onnx.ModelProto
    target : tvm.target.Target
    shapes : as for ``tvm_zerocopy.compile``

    Raises
    ------
    ModelError, UnsupportedError
        As ``tvm_zerocopy.compile`` does.
    """
    imported = import_onnx(model, shapes, 1)
    try:
        head = recognize_head(imported.module)
    except ZeroCopyError:
        head = None
    passes = pipeline(Frame(), default_preprocess(head, imported.layout), Nms() if head else None, target)
    module = imported.module
    with target, tvm.transform.PassContext(opt_level=3):
        for step in passes:
            if step.info.name == SCHEDULING:
                return extract_tasks(module), step.rules
            module = step(module)
    raise AssertionError(f"the pipeline has no step {SCHEDULING}")
