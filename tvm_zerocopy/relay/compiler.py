"""``compile`` in a TVM build with Relay: the twin of ``tvm_zerocopy.compiler``."""

import json
from dataclasses import replace
from typing import Optional, Sequence

import tvm
from tvm import relay

from ..buffers import ExternalBuffer
from ..declared import checked, class_names, default_preprocess, detection_head
from ..errors import ModelError, UnsupportedError
from ..frontend import import_onnx
from ..passes.relay.fuse_detection_head import recognize_head
from ..specs import Frame, Nms, Preprocess
from ..targets import resolve_target
from ..text import one_line
from ..threads import use_available_cpus
from ..tuning.manifest import target_fields
from ..tuning.relay.published import from_folder, published_for
from . import graph
from .engine import GraphEngine
from .pipeline import pipeline

PRECISIONS = ("float32",)
KINDS = {"llvm": "cpu", "cuda": "cuda"}  # of targets, and the devices that their programs run on


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
    progress=None,
    inspect=None,
) -> GraphEngine:
    """Compile a detector with ``relay.build``: camera frame in, boxes out.

    Parameters, results and errors are those of ``tvm_zerocopy.compile`` where TVM has Relax, except:

    Parameters
    ----------
    tuning_log : path or None
        A folder with the records of AutoTVM, Ansor or MetaSchedule.
    dump : path or None
        A folder that gets the module as Relay text before and after each pass.

    Raises
    ------
    UnsupportedError
        For a target other than a CPU or a CUDA GPU.
    """
    frame = checked(frame, preprocess, postprocess)
    use_available_cpus()  # before TVM runs anything: it reads the number once
    target = resolve_target(target)
    if target.kind.name not in KINDS:
        raise UnsupportedError(f"target {target.kind.name} has no schedules here; use llvm or cuda")
    if precision not in PRECISIONS:
        raise UnsupportedError(f"precision {precision!r} is not supported; target {target.kind.name} has: {PRECISIONS}")
    progress = progress or (lambda step, done, total: None)
    progress("import", 0, 1)
    imported = import_onnx(model, shapes, frame.batch)
    head = detection_head(recognize_head, imported, postprocess)
    preprocess = preprocess or default_preprocess(head, imported.layout)
    names = class_names(names, imported, head, postprocess)
    tuned = published_for(target) if tuning_log is None else from_folder(tuning_log, target)
    passes = pipeline(frame, preprocess, postprocess, target)
    module = imported.module
    writer = None
    if dump is not None:
        from ..dump import ModuleWriter

        writer = ModuleWriter(dump, module)
    for done, step in enumerate(passes, start=1):
        progress(step.info.name, done, len(passes) + 2)
        with target:
            module = step(module)
        if writer is not None:
            writer.after(step.info.name, module)
    progress("build", len(passes) + 1, len(passes) + 2)
    if inspect is not None:
        inspect(module, target)
    with tvm.transform.PassContext(opt_level=3), tuned.applied():
        try:
            built = relay.build(module, target)
        except tvm.error.TVMError as error:
            raise ModelError(f"relay.build refuses the model: {one_line(error)}") from error
    weights = {name: value.numpy() for name, value in built.get_params().items()}
    program, packed = graph.program_of(built.get_graph_json(), frame, weights)
    report = graph.copy_report(built.get_graph_json(), built.function_metadata, program, frame)
    return GraphEngine(
        built.get_lib(),
        program,
        ExternalBuffer.wrap(_aligned(packed)),
        {
            "model": imported.name,
            "frame": frame.to_json(),
            "preprocess": preprocess.to_json(),
            "postprocess": replace(postprocess, head=head.name).to_json() if postprocess is not None else None,
            "names": names,
            "output_names": list(imported.output_names),
            "target": json.dumps(target_fields(target)),
            "device": KINDS[target.kind.name],
            "precision": precision,
            "copy_report": report.to_dict(),
            "tuning": {**tuned.to_dict(), "line": tuned.line()},
        },
    )


def _aligned(packed):
    """The same bytes on a boundary that the executor accepts."""
    buffer = ExternalBuffer.allocate(packed.shape, packed.dtype, alignment="page")
    buffer.numpy()[...] = packed
    return buffer
