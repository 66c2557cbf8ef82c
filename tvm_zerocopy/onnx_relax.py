"""ONNX -> Relax: TVM's importer, its failures as one clear ModelError, and static shapes or none."""

import contextlib
import io
import math
import warnings
from typing import List, Optional, Set, Tuple

import numpy as np
import onnx
import tvm
import tvm_ffi
from tvm import relax
from tvm.relax.frontend import onnx as relax_onnx

from .errors import ModelError
from .text import one_line

MOST_ELEMENTS = 2**31 - 1  # of one tensor: kernels count in int32
_RESHAPE, _TAKE, _WHERE, _LESS = (tvm.ir.Op.get(f"relax.{name}") for name in ("reshape", "take", "where", "less"))


def known_operators() -> Set[str]:
    """ONNX operators that the importer converts."""
    return set(relax_onnx.onnx_frontend._get_convert_map())


def to_module(proto: onnx.ModelProto, input_name: str, shape: Tuple[int, ...]) -> tvm.IRModule:
    """``main(image)`` with constant weights and static shapes.

    Raises
    ------
    ModelError
        Naming the node that cannot be imported, or the value whose shape is not known.
    """
    try:
        # The importer prints and warns about what this module turns into errors itself.
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = relax_onnx.from_onnx(proto, shape_dict={input_name: list(shape)})
    except Exception as error:  # TVM's converters raise whatever they meet
        node = _abandon(error)
        where = (
            f"operator {node.op_type} (node {node.name or node.output[0]!r}) of the model"
            if node is not None
            else "the model"
        )
        raise ModelError(f"{where} cannot be imported: {one_line(error)}") from error
    faults: List[str] = []
    main = relax.analysis.remove_all_unused(_Constants(module, faults).visit_expr(module["main"]))
    if faults:
        raise ModelError(faults[0])
    module.update_func(module.get_global_var("main"), main)
    try:
        module = relax.transform.FoldConstant()(module)
    except Exception as error:  # it compiles and runs what is constant
        raise ModelError(f"the model's constants cannot be folded: {one_line(error)}") from error
    _check_static(module)
    return module


@relax.expr_functor.mutator
class _Constants(relax.PyExprMutator):
    """Reshapes constants (the importer asks it of each bias) here; FoldConstant would compile a kernel for each.
    Indices that are constant are found in bounds here; TVM would warn on standard error that nobody had."""

    def __init__(self, module, faults: List[str]):
        super().__init__(module)
        self.faults = faults  # an error raised while TVM visits would come out as a RuntimeError

    def visit_call_(self, call):
        call = super().visit_call_(call)
        if call.op == _RESHAPE and isinstance(call.args[0], tvm.ir.GenericConst):
            shape = getattr(call.ty, "shape", None)
            if shape is not None and all(isinstance(v, tvm.tirx.IntImm) for v in shape):
                value = call.args[0].value.numpy()
                return relax.const(value.reshape([int(v) for v in shape]), str(value.dtype))
        if call.op == _TAKE and call.attrs.mode == "fast":
            index = self._unwrapped(call.args[1])
            if isinstance(index, tvm.ir.GenericConst):
                return self._in_bounds(call, index)
        return call

    def _unwrapped(self, index):
        """c of where(c < 0, c + side, c), as the importer writes a Gather, if none of the constant c is negative."""
        wrapped = self._made(index, _WHERE)
        negative = self._made(wrapped.args[0], _LESS) if wrapped is not None else None
        if negative is None or not all(isinstance(value, tvm.ir.GenericConst) for value in negative.args):
            return index
        value, zero = negative.args
        same = wrapped.args[2].same_as(value) and tvm_ffi.structural_equal(index.ty, value.ty)
        return value if same and not zero.value.numpy().any() and (value.value.numpy() >= 0).all() else index

    def _made(self, expr, operator):
        """The call that makes a value, if it is one of that operator."""
        made = self.lookup_binding(expr) if isinstance(expr, relax.Var) else None
        return made if isinstance(made, relax.Call) and made.op == operator else None

    def _in_bounds(self, call, index):
        data = call.args[0]
        indices, axis = index.value.numpy(), call.attrs.axis
        side = data.ty.shape[0 if axis is None else int(axis)]
        if not isinstance(side, tvm.tirx.IntImm) or (axis is None and len(data.ty.shape) > 1):
            return call
        if ((indices < -int(side)) | (indices >= int(side))).any():
            self.faults.append(f"a Gather of the model reads at {indices.max()} of an axis of {int(side)}")
            return call
        index = relax.const(np.where(indices < 0, indices + int(side), indices).astype("int64"), "int64")
        return relax.op.take(data, index, axis, mode="clip")


def _abandon(error: BaseException) -> Optional[onnx.NodeProto]:
    """The ONNX node that TVM's importer was converting when it raised; its half-made function is given up."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_construct_nodes":
            with contextlib.suppress(Exception):  # an open block would be warned of on standard error
                trace.tb_frame.f_locals["self"].bb._end_block()
            return trace.tb_frame.f_locals.get("node")
        trace = trace.tb_next
    return None


def _check_static(module: tvm.IRModule) -> None:
    for block in module["main"].body.blocks:
        for binding in block.bindings:
            for tensor in _tensor_types(binding.var.ty):
                shape = tensor.shape
                if shape is None or not all(isinstance(v, tvm.tirx.IntImm) for v in shape):
                    raise ModelError(
                        f"the shape of the model's value {_made_by(binding)} depends on the image's content or cannot "
                        "be inferred; export the model with static shapes (for YOLO: without NMS in the graph)"
                    )
                if math.prod(int(v) for v in shape) > MOST_ELEMENTS:
                    shape = tuple(int(v) for v in shape)
                    raise ModelError(
                        f"the model's value {_made_by(binding)} has shape {shape}, over {MOST_ELEMENTS:,} elements; "
                        "export the model for a smaller input"
                    )


def _made_by(binding) -> str:
    """The value's name and, if it is one's result, the operator that makes it."""
    operator = getattr(getattr(binding.value, "op", None), "name", "")
    return f"{binding.var.name!r}" + (f" (of {operator})" if operator else "")


def _tensor_types(ty) -> List[relax.TensorType]:
    if isinstance(ty, relax.TensorType):
        return [ty]
    if isinstance(ty, relax.TupleType):
        return [tensor for field_type in ty.fields for tensor in _tensor_types(field_type)]
    return []
