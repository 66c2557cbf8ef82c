"""``main`` returns detections instead of raw outputs: decode, filter, NMS and un-letterbox become two kernels."""

import dataclasses
from typing import List, Optional, Tuple

import tvm
from tvm import relay

from tvm_zerocopy.errors import ModelError
from tvm_zerocopy.specs import Frame, Nms

from ..detection_head.filters import candidate_filter
from ..detection_head.loops import loops_for
from ..detection_head.recognize import Head, find_head, require_nms
from ..detection_head.select import select_detections
from ..detection_head.undo import recorded_geometry
from ..detection_head.workspace import Chunks
from ..model_image import image_size
from .frame_descriptor import take_frame_size
from .glue import Glue
from .tensor_types import tensor_of
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
        self.nms = require_nms(nms)

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        mod = _returning_fields(relay.transform.InferType()(mod))
        main = mod["main"]
        size = _input_size(main)
        head = find_head(_outputs(main), size, self.nms.head)
        geometry = recorded_geometry(main.attrs, size, lambda frame: (0, 0))  # the descriptor has them
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
    """The head's value as float32, and whether it is ``(batch, values, boxes)``."""
    value, in_columns, transpose = head.read()
    if transpose:
        value = relay.transpose(value, [0, 2, 1])
    if head.output.dtype != "float32":
        value = relay.cast(value, "float32")
    return value, in_columns


def _input_size(main: relay.Function) -> Optional[Tuple[int, int]]:
    """(height, width) in pixels of the first static, float image in ``main``: a parameter, or made of the frame."""
    values = list(main.params)
    relay.analysis.post_order_visit(main.body, lambda e: values.append(e) if isinstance(e, relay.Call) else None)
    return image_size(tensor_of("", value.checked_type) for value in values)


def _frame_descriptor(main: relay.Function) -> relay.Var:
    """The descriptor of the frame's first tensor among ``main``'s parameters."""
    return next(p for p in main.params if p.checked_type.dtype == "int64" and len(p.checked_type.shape) == 1)
