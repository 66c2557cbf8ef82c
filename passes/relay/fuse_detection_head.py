"""``main`` returns detections instead of raw outputs: decode, filter, NMS and un-letterbox become two kernels."""

import dataclasses
from typing import List, Optional, Tuple

import tvm
from tvm import relay, tir

from tvm_zerocopy.errors import ModelError, SpecError
from tvm_zerocopy.specs import Frame, Nms, Preprocess

from ..detection_head.filters import candidate_filter
from ..detection_head.loops import loops_for
from ..detection_head.recognize import Head, find_head
from ..detection_head.select import select_detections
from ..detection_head.undo import FrameGeometry, known_geometry, undo
from ..detection_head.workspace import Chunks
from ..preprocess_kernel import geometry as kernel_geometry
from .frame_descriptor import take_frame_size
from .glue import Glue
from .tir_operator import call_kernel


@tvm.transform.module_pass(opt_level=0, name="FuseDetectionHead")
class FuseDetectionHead:
    """Put decode and class-aware non-maximum suppression into ``main``.

    The twin of ``tvm_zerocopy.passes.fuse_detection_head.FuseDetectionHead``: the same results, attributes, errors and
    kernels. Afterwards ``main`` returns ``(boxes, scores, classes, count)``, in frame pixels if ``FusePreprocess`` ran
    before. Run it on the imported graph, before operators are rewritten: the graph tells heads of one shape apart.

    Parameters
    ----------
    nms : Nms

    Raises
    ------
    ModelError
        If no output, or more than one, is recognized as a detection head, or the outputs are not static.
    SpecError
        If ``nms.head`` names a head that does not fit the model.
    """

    def __init__(self, nms: Nms):
        if not isinstance(nms, Nms):
            raise SpecError(
                f"FuseDetectionHead takes an Nms, not {type(nms).__name__}; leave the pass out for raw outputs"
            )
        self.nms = nms

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        mod = _returning_fields(relay.transform.InferType()(mod))
        main = mod["main"]
        size = _input_size(main)
        head = find_head(_outputs(main), size, self.nms.head)
        geometry = _geometry(main, size)
        chunks = Chunks(head.batch, head.rows)
        loops = loops_for(tvm.target.Target.current(allow_none=True))
        raw, in_columns = _raw(head)
        filter_kernel = candidate_filter(head, in_columns, chunks, self.nms.conf, loops)
        select_kernel = select_detections(chunks, self.nms, loops, head.name != "end2end", geometry)
        candidates = call_kernel("tz.filter_candidates", filter_kernel, [raw])
        inputs = list(candidates)
        if geometry.symbolic:
            frame = Frame.from_json(str(main.attrs["tz.frame"]))
            select_kernel = take_frame_size(select_kernel, frame, len(inputs))
            inputs.append(_frame_descriptor(main))
        results = list(call_kernel("tz.select_detections", select_kernel, inputs))
        function = relay.Function(main.params, relay.Tuple(results[-4:]), None, main.type_params, main.attrs)
        recorded = dataclasses.replace(self.nms, head=head.name).to_json()
        result = tvm.IRModule(mod.functions, mod.type_definitions)
        result["main"] = function.with_attr("tz.nms", recorded)
        return relay.transform.InferType()(result)


def recognize_head(mod: tvm.IRModule, name: Optional[str] = None) -> Head:
    """The detection head of ``main``, as named or recognized; raises what ``FuseDetectionHead`` does."""
    main = _returning_fields(relay.transform.InferType()(mod))["main"]
    return find_head(_outputs(main), _input_size(main), name)


def _returning_fields(mod: tvm.IRModule) -> tvm.IRModule:
    """The module with ``main`` returning a tuple field by field, where an operator makes the whole tuple."""
    main = mod["main"]
    if isinstance(main.body, relay.Tuple) or not isinstance(main.body.checked_type, relay.TupleType):
        return mod
    fields = relay.Tuple([relay.TupleGetItem(main.body, i) for i in range(len(main.body.checked_type.fields))])
    result = tvm.IRModule(mod.functions, mod.type_definitions)
    result["main"] = relay.Function(main.params, fields, None, main.type_params, main.attrs)
    return relay.transform.InferType()(result)


def _outputs(main: relay.Function) -> List[Glue]:
    """What ``main`` returns, one value a tensor."""
    outputs = list(main.body.fields) if isinstance(main.body, relay.Tuple) else [main.body]
    if not all(isinstance(output.checked_type, relay.TensorType) for output in outputs):
        raise ModelError("main returns something else than tensors; a detector returns its predictions as tensors")
    return [Glue(output) for output in outputs]


def _raw(head: Head) -> Tuple[relay.Expr, bool]:
    """The head's value as float32, and whether it is ``(batch, values, boxes)``; main's last transpose is left out."""
    value, in_columns = head.value, (head.name == "yolov8") != head.transpose
    before = Glue(value).before_transpose()
    if before is not None and not in_columns and head.name != "end2end":
        value, in_columns = before.expr, True
    if head.name == "yolov8" and not in_columns:
        value, in_columns = relay.transpose(value, [0, 2, 1]), True
    if head.value.checked_type.dtype != "float32":
        value = relay.cast(value, "float32")
    return value, in_columns


def _input_size(main: relay.Function) -> Optional[Tuple[int, int]]:
    """(height, width) in pixels of the first static, float image in ``main``: a parameter, or made of the frame."""
    sizes = []

    def visit(expr):
        ty = expr.checked_type if isinstance(expr, (relay.Var, relay.Call)) else None
        if not isinstance(ty, relay.TensorType) or len(ty.shape) != 4 or not ty.dtype.startswith(("float", "bfloat")):
            return
        shape = [int(side) if isinstance(side, tir.IntImm) else 0 for side in ty.shape]
        if 0 not in shape and 3 in (shape[1], shape[3]):
            sizes.append((shape[2], shape[3]) if shape[1] == 3 else (shape[1], shape[2]))

    for param in main.params:
        visit(param)
    if not sizes:
        relay.analysis.post_order_visit(main.body, visit)
    return sizes[0] if sizes else None


def _geometry(main: relay.Function, size: Optional[Tuple[int, int]]) -> FrameGeometry:
    """The way into the frame that ``FusePreprocess`` recorded on ``main``; identity if it recorded none."""
    attributes = main.attrs
    if not attributes or "tz.frame" not in attributes:
        return FrameGeometry()
    if size is None:
        raise ModelError("main has the attribute tz.frame but no float image with three channels; run FusePreprocess")
    frame = Frame.from_json(str(attributes["tz.frame"]))
    preprocess = Preprocess.from_json(str(attributes["tz.preprocess"]))
    if not frame.dynamic:
        return known_geometry(frame, preprocess, size)

    def undo_symbolic(box, h, w):
        return undo(box, h, w, kernel_geometry.symbolic_letterbox(h, w, *size, preprocess))

    return FrameGeometry(undo_symbolic, symbolic=True)


def _frame_descriptor(main: relay.Function) -> relay.Var:
    """The descriptor of the frame's first tensor among ``main``'s parameters."""
    return next(p for p in main.params if p.checked_type.dtype == "int64" and len(p.checked_type.shape) == 1)
