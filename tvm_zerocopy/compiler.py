"""``compile``: from an ONNX model and what the user declares to an Engine."""

import json
from dataclasses import replace
from typing import Callable, Optional, Sequence

import tvm

from .buffers import ExternalBuffer
from .declared import checked, class_names, default_preprocess, detection_head
from .dump import ModuleWriter
from .engine import Engine
from .errors import ModelError, ZeroCopyError
from .frontend import import_onnx
from .passes.call_sequence import LoweringError
from .passes.copy_audit import CopyAudit
from .passes.fuse_detection_head import recognize_head
from .pipeline import check_precision, pipeline
from .program import build_module
from .specs import Frame, Nms, Preprocess
from .targets import resolve_target
from .text import one_line
from .threads import use_available_cpus
from .tuning.published import from_folder, published_for

Progress = Callable[[str, int, int], None]


def compile(
    model,
    *,
    frame: Optional[Frame] = None,
    preprocess: Optional[Preprocess] = None,
    postprocess: Optional[Nms] = Nms(),  # noqa: B008 (immutable)
    target="llvm",
    precision: str = "float32",
    tuning_log=None,
    names: Optional[Sequence[str]] = None,
    shapes=None,
    dump=None,
    progress: Optional[Progress] = None,
    inspect: Optional[Callable[[tvm.IRModule, tvm.target.Target], None]] = None,
) -> Engine:
    """Compile a detector into one program: camera frame in, boxes out.

    Parameters
    ----------
    model : path or onnx.ModelProto
    frame : Frame or None
        The camera's frame. None: ``Frame()``, bgr8 of any size.
    preprocess : Preprocess or None
        None: the convention that the model's head was trained with: ``Preprocess.yolox()`` for a YOLOX head, else
        ``Preprocess()``. ``Engine.preprocess`` says which it was.
    postprocess : Nms or None
        None: the engine gives the model's raw outputs.
    target : str, dict or tvm.target.Target
        See ``targets.resolve_target``.
    precision : {"float32", "bfloat16", "float16"}
        bfloat16: convolutions multiply bfloat16 and add float32, activations are kept as bfloat16; boxes move by
        fractions of a pixel. For CPUs with AMX, AVX512_BF16 or Arm's bf16. float16: likewise, for CUDA GPUs with tensor
        cores (sm_70 and later); raw outputs move by 2e-3 of their range at most. Outputs are float32 in each.
    tuning_log : path or None
        A folder with MetaSchedule's records, from ``tvm-zerocopy tune``. None: the published logs that suit the
        target, if any. ``engine.metadata["tuning"]["line"]`` says what was used.
    names : sequence of str, dict of number to name, or None
        Class names. None: the model's own, from its metadata.
    shapes : shape of the model's input, dict of name to shape, or None
        Fixes dynamic axes.
    dump : path or None
        A folder that gets the module as TVMScript before and after each pass.
    progress : callable or None
        Called with (step, steps done, steps in all) when a step begins.
    inspect : callable or None
        Called with the module just before machine code is made of it and the complete target, for reports.

    Raises
    ------
    ModelError
        If the model cannot be read, imported or compiled, or its head cannot be recognized.
    SpecError
        If a specification contradicts itself or the model.
    UnsupportedError
        If target or precision cannot be compiled for here.
    """
    frame = checked(frame, preprocess, postprocess)
    use_available_cpus()  # before TVM runs anything: it reads the number once
    target = resolve_target(target)
    check_precision(precision, target)
    progress = progress or (lambda step, done, total: None)
    progress("import", 0, 1)
    imported = import_onnx(model, shapes, frame.batch)
    head = detection_head(recognize_head, imported, postprocess)
    preprocess = preprocess or default_preprocess(head, imported.layout)
    names = class_names(names, imported, head, postprocess)
    measured = published_for(target) if tuning_log is None else from_folder(tuning_log, target)
    passes = pipeline(frame, preprocess, postprocess, target, measured, precision)
    steps = len(passes) + 2
    with target, tvm.transform.PassContext(opt_level=3):
        module = imported.module
        writer = ModuleWriter(dump, module) if dump is not None else None
        for done, step in enumerate(passes, start=1):
            progress(step.info.name, done, steps)
            module = _run(step.info.name, step, module)
            if writer is not None:
                writer.after(step.info.name, module)
        progress("build", steps - 1, steps)
        if inspect is not None:
            inspect(module, target)
        library = _run("build", build_module, module, target)
    return Engine(
        library,
        json.loads(module.attrs["tz.program"]),
        ExternalBuffer.wrap(module.attrs["tz.weights"]),
        {
            "model": imported.name,
            "frame": frame.to_json(),
            "preprocess": preprocess.to_json(),
            "postprocess": replace(postprocess, head=head.name).to_json() if postprocess is not None else None,
            "names": names,
            "output_names": list(imported.output_names),
            "target": str(target),
            "device": "cuda" if target.kind.name == "cuda" else "cpu",
            "precision": precision,
            "copy_report": CopyAudit()(module).to_dict(),
            "tuning": {**measured.to_dict(), "line": measured.line()},
        },
    )


def _run(name: str, step: Callable, *arguments):
    """One step of the compilation; what TVM cannot do becomes one line that names the step."""
    try:
        return step(*arguments)
    except LoweringError as error:  # its mend is for people who put passes together
        raise ModelError(f"the model cannot become one program: {str(error).split(';')[0]}") from error
    except ZeroCopyError:
        raise
    except Exception as error:  # passes and code generators raise whatever they meet
        reason = f"{type(error).__name__}: {one_line(error)}"
        raise ModelError(f"the model cannot be compiled, {name} fails ({reason}); --debug shows the trace") from error
