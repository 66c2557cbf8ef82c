"""ONNX -> Relay: TVM's importer, its failures as one clear ModelError, and static shapes or none."""

import contextlib
import io
import logging
import warnings
from typing import Optional, Set, Tuple

import onnx
import tvm
from tvm import relay, tir
from tvm.relay.frontend import onnx as relay_onnx

from .errors import ModelError
from .text import one_line


def known_operators() -> Set[str]:
    """ONNX operators that the importer converts."""
    return set(relay_onnx._get_convert_map(1)) | {"Constant"}


def to_module(proto: onnx.ModelProto, input_name: str, shape: Tuple[int, ...]) -> tvm.IRModule:
    """``main(image)`` with constant weights and static shapes.

    Raises
    ------
    ModelError
        Naming the node that cannot be imported, or that a shape is not known.
    """
    logger = logging.getLogger("from_onnx")
    level = logger.level
    try:
        # The importer prints and warns about what this module turns into errors itself.
        logger.setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module, _ = relay.frontend.from_onnx(proto, shape={input_name: list(shape)}, freeze_params=True)
    except Exception as error:  # TVM's converters raise whatever they meet
        node = _failing_node(error)
        where = f"operator {node.op_type} (node {node.name!r}) of the model" if node is not None else "the model"
        raise ModelError(f"{where} cannot be imported: {one_line(error)}") from error
    finally:
        logger.setLevel(level)
    steps = [relay.transform.InferType(), relay.transform.DynamicToStatic(), relay.transform.FoldConstant()]
    module = tvm.transform.Sequential(steps)(module)
    _check_static(module)
    return module


def _failing_node(error: BaseException) -> Optional[onnx.NodeProto]:
    """The ONNX node that TVM's importer was converting when it raised."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == "_construct_nodes":
            return trace.tb_frame.f_locals.get("node")
        trace = trace.tb_next
    return None


def _check_static(module: tvm.IRModule) -> None:
    def visit(expr):
        if not isinstance(expr, relay.Call) or not isinstance(expr.checked_type, relay.TensorType):
            return
        if not all(isinstance(side, tir.IntImm) for side in expr.checked_type.shape):
            operator = getattr(expr.op, "name", "a function")
            raise ModelError(
                f"the shape of what the model's operator {operator} gives depends on the image's content or cannot be "
                "inferred; export the model with static shapes"
            )

    relay.analysis.post_order_visit(module["main"].body, visit)
