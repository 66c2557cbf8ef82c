"""From a model to its tuning tasks, and to programs with chosen schedules: the compile pipeline around its step that
schedules kernels."""

from __future__ import annotations

import json

import tvm

from ..buffers import ExternalBuffer
from ..declared import default_preprocess
from ..engine import Engine
from ..errors import ZeroCopyError
from ..frontend import import_onnx
from ..passes.apply_schedules import ApplySchedules
from ..passes.fuse_detection_head import recognize_head
from ..pipeline import pipeline
from ..program import build_module
from ..specs import Frame, Nms
from .tasks import Task, as_workload, extract_tasks, shash2hex

SCHEDULING = "ApplySchedules"


class Unscheduled:
    """A model up to the step that schedules its kernels.

    The frame does not matter: the preprocessing kernel brings its own schedule. A model without a recognizable
    detection head is taken for its raw outputs.

    Parameters
    ----------
    model : path or onnx.ModelProto
    target : tvm.target.Target
    shapes, precision : as for ``tvm_zerocopy.compile``

    Attributes
    ----------
    module : tvm.IRModule
        Relax ``main`` and unscheduled PrimFuncs.
    rules : list
        The schedule rules of the pipeline.

    Raises
    ------
    ModelError, UnsupportedError
        As ``tvm_zerocopy.compile`` does.
    """

    def __init__(self, model, target: tvm.target.Target, shapes=None, precision="float32"):
        imported = import_onnx(model, shapes, 1)
        try:
            head = recognize_head(imported.module)
        except ZeroCopyError:
            head = None
        frame, preprocess = Frame(), default_preprocess(head, imported.layout)
        postprocess = Nms(head=head.name) if head else None
        passes = pipeline(frame, preprocess, postprocess, target, precision=precision)
        (place,) = [number for number, step in enumerate(passes) if step.info.name == SCHEDULING]
        self._target, self._after = target, passes[place + 1 :]
        self.module, self.rules = imported.module, passes[place].rules
        with target, tvm.transform.PassContext(opt_level=3):
            for step in passes[:place]:
                self.module = step(self.module)
        self._metadata = {
            "frame": frame.to_json(),
            "preprocess": preprocess.to_json(),
            "postprocess": postprocess.to_json() if postprocess else None,
            "output_names": list(imported.output_names),
            "target": str(target),
        }

    def tasks(self) -> list[Task]:
        """The model's distinct kernels, heaviest first."""
        return extract_tasks(self.module)

    def kernels(self) -> dict[str, str]:
        """{kernel name: hash of its workload}."""
        return {
            var.name_hint: shash2hex(as_workload(func))
            for var, func in self.module.functions_items()
            if isinstance(func, tvm.tirx.PrimFunc)
        }

    def program(self, measured, weights: ExternalBuffer | None = None) -> Engine:
        """Schedule and build.

        Parameters
        ----------
        measured : object with ``schedule(func)``, or None
            As for ``ApplySchedules``.
        weights : ExternalBuffer or None
            Another program's, to share its memory if they are the same.
        """
        with self._target, tvm.transform.PassContext(opt_level=3):
            module = ApplySchedules(self.rules, self._target, measured)(self.module.clone())
            for step in self._after:
                module = step(module)
            library = build_module(module, self._target)
        own = ExternalBuffer.wrap(module.attrs["tz.weights"])
        if weights is not None and (weights.numpy() == own.numpy()).all():
            own = weights
        return Engine(library, json.loads(module.attrs["tz.program"]), own, self._metadata)


def model_tasks(model, target: tvm.target.Target, shapes=None) -> tuple[list[Task], list]:
    """A model's distinct kernels and the schedule rules for them; see `Unscheduled`."""
    unscheduled = Unscheduled(model, target, shapes)
    return unscheduled.tasks(), unscheduled.rules
