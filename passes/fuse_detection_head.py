"""``main`` returns detections instead of raw outputs: decode, filter, NMS and un-letterbox become two kernels."""

import dataclasses
from typing import List, Optional, Tuple

import tvm
from tvm import relax

from tvm_zerocopy.errors import ModelError
from tvm_zerocopy.specs import Nms

from .detection_head.filters import candidate_filter
from .detection_head.gpu_filter import gpu_candidate_filter
from .detection_head.gpu_select import gpu_select_detections
from .detection_head.loops import CpuLoops, is_gpu
from .detection_head.recognize import Head, find_head, require_nms
from .detection_head.relax_glue import Glue
from .detection_head.select import DIGITS, kept_capacity, select_detections
from .detection_head.tail import Tail
from .detection_head.to_frame import frame_geometry, input_size
from .detection_head.workspace import Chunks, ThreadBlocks


@tvm.transform.module_pass(opt_level=0, name="FuseDetectionHead")
class FuseDetectionHead:
    """Put decode and class-aware non-maximum suppression into ``main``.

    Afterwards ``main`` returns ``(boxes, scores, classes, count)``: float32 ``(batch, max_det, 4)`` xyxy, float32
    ``(batch, max_det)``, int32 ``(batch, max_det)`` and int32 ``(batch,)``; best score first, rows past the count
    are zeros with class -1. Boxes are in frame pixels, clipped to the frame, if ``FusePreprocess`` ran before
    (attributes ``tz.frame`` and ``tz.preprocess``), else in model-input pixels. The attribute ``tz.nms`` records
    the specification with the head's name filled in.

    Runs on Relax operators, before they are legalized: the graph behind the output tells heads of one shape apart.
    It makes two ``call_tir``: a filter whose parallel chunks write candidates, and a selection that orders and
    suppresses them. Their workspace is further outputs of theirs, so that whoever plans memory places it; the
    kernels allocate nothing. They are made for the current target (``with target:``; CPU if there is none): a GPU has
    kernels of its own, which find the same. They are marked as scheduled.

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

    def transform_module(self, mod: tvm.IRModule, _: tvm.transform.PassContext) -> tvm.IRModule:
        main = mod["main"]
        size = input_size(main)
        head = find_head(_outputs(main), size, self.nms.head)
        geometry = frame_geometry(main, size)
        gpu = is_gpu(tvm.target.Target.current(allow_none=True))
        chunks = (ThreadBlocks if gpu else Chunks)(head.batch, head.rows)
        builder = relax.BlockBuilder(mod)
        tail = Tail(main, builder)
        raw, in_columns = _raw(head, tail)
        suppress = head.name != "end2end"
        if gpu:
            filters = gpu_candidate_filter(head, in_columns, chunks, self.nms.conf)
            select = gpu_select_detections(chunks, self.nms, suppress, geometry)
        else:
            filters = candidate_filter(head, in_columns, chunks, self.nms.conf, CpuLoops)
            select = select_detections(chunks, self.nms, CpuLoops, suppress, geometry)
        filter_kernel = builder.add_func(filters, "filter_candidates")
        select_kernel = builder.add_func(select, "select_detections")
        candidates = tail.call_tir(filter_kernel, [raw], _candidates(chunks))
        frame_size = [geometry.height, geometry.width] if geometry.symbolic else []
        results = tail.call_tir(
            select_kernel,
            [*candidates, *frame_size],
            (_gpu_workspace if gpu else _workspace)(chunks, self.nms) + _detections(chunks, self.nms),
        )
        recorded = dataclasses.replace(self.nms, head=head.name).to_json()
        module = builder.get()
        module.update_func(module.get_global_var("main"), tail.returning(results[-4:]).with_attr("tz.nms", recorded))
        return relax.transform.DeadCodeElimination(["main"])(module)


def recognize_head(mod: tvm.IRModule, name: Optional[str] = None) -> Head:
    """The detection head of ``main``, as named or recognized; raises what ``FuseDetectionHead`` does."""
    main = mod["main"]
    return find_head(_outputs(main), input_size(main), name)


def _outputs(main: relax.Function) -> List[Glue]:
    """What ``main`` returns, one expression a tensor."""
    returned = Glue(main, main.body.body).output
    if isinstance(returned, relax.Tuple):
        outputs = list(returned.fields)
    elif isinstance(main.body.body.ty, relax.TupleType):
        outputs = [relax.TupleGetItem(main.body.body, i) for i in range(len(main.body.body.ty.fields))]
    else:
        outputs = [main.body.body]
    if not all(isinstance(output.ty, relax.TensorType) for output in outputs):
        raise ModelError("main returns something else than tensors; a detector returns its predictions as tensors")
    return [Glue(main, output) for output in outputs]


def _raw(head: Head, tail: Tail) -> Tuple[relax.Expr, bool]:
    """The head's value as float32, and whether it is ``(batch, values, boxes)``."""
    value, in_columns, transpose = head.read()
    if transpose:
        value = tail.emit(relax.op.permute_dims(value, [0, 2, 1]), "predictions")
    if str(value.ty.dtype) != "float32":
        value = tail.emit(relax.op.astype(value, "float32"), "predictions")
    return value, in_columns


def _candidates(chunks: Chunks) -> List[relax.TensorType]:
    """keys, counts, boxes, classes: what the filter writes."""
    return [
        relax.TensorType((chunks.batch, chunks.capacity), "uint64"),
        relax.TensorType((chunks.batch, chunks.count), "int32"),
        relax.TensorType((chunks.batch, chunks.rows, 4), "float32"),
        relax.TensorType((chunks.batch, chunks.rows), "int32"),
    ]


def _workspace(chunks: Chunks, nms: Nms) -> List[relax.TensorType]:
    """Both buffers of the sort, its digits, the kept boxes and their classes."""
    kept = kept_capacity(nms.max_det)
    return [
        relax.TensorType((chunks.batch, chunks.capacity), "uint64"),
        relax.TensorType((chunks.batch, chunks.capacity), "uint64"),
        relax.TensorType((chunks.batch, 3 * DIGITS), "int32"),
        relax.TensorType((chunks.batch, 5, kept), "float32"),
        relax.TensorType((chunks.batch, kept), "int32"),
    ]


def _gpu_workspace(chunks: Chunks, nms: Nms) -> List[relax.TensorType]:
    """Keys of the candidates that are left, their boxes with areas, their classes, the kept ones' keys."""
    return [
        relax.TensorType((chunks.batch, chunks.capacity), "uint64"),
        relax.TensorType((chunks.batch, 5, chunks.capacity), "float32"),
        relax.TensorType((chunks.batch, chunks.capacity), "int32"),
        relax.TensorType((chunks.batch, nms.max_det), "uint64"),
    ]


def _detections(chunks: Chunks, nms: Nms) -> List[relax.TensorType]:
    """boxes, scores, classes, count."""
    return [
        relax.TensorType((chunks.batch, nms.max_det, 4), "float32"),
        relax.TensorType((chunks.batch, nms.max_det), "float32"),
        relax.TensorType((chunks.batch, nms.max_det), "int32"),
        relax.TensorType((chunks.batch,), "int32"),
    ]
