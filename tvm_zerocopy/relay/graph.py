"""What a built graph says of itself, as the engine and the audit read it: inputs, outputs, weights, memory, moves."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from tvm import relay

from ..errors import ModelError
from ..passes.copy_report import CopyReport, CopyRow
from ..passes.preprocess_kernel import frame_tensors
from ..passes.relay.bind_external_buffers import ALIGNMENT
from ..specs import Frame

NO_OP = "__nop"  # a reshape: another view of the same storage
# Relay operators that only move, and the reason that `CopyReport` gives.
MOVES = {
    "layout_transform": "layout change",
    "transpose": "layout change",
    "reshape": "layout change",
    "expand_dims": "layout change",
    "squeeze": "layout change",
    "concatenate": "concat",
    "split": "split",
    "strided_slice": "split",
    "nn.pad": "pad",
    "image.resize2d": "upsample",
    "nn.upsampling": "upsample",
    "cast": "convert",
    "copy": "copy",
    "zeros": "fill",
    "full": "fill",
}


class Graph:
    """A GraphExecutor's program.

    Parameters
    ----------
    text : str
        The graph as JSON.
    """

    def __init__(self, text: str):
        self.nodes = json.loads(text)
        self.rows = self.nodes["node_row_ptr"]
        attributes = self.nodes["attrs"]
        self.shapes, self.dtypes = attributes["shape"][1], attributes["dltype"][1]
        self.storage = attributes["storage_id"][1]

    def tensor(self, node: int, output: int = 0) -> dict:
        """Shape, dtype, bytes and storage of what a node gives."""
        entry = self.rows[node] + output
        shape, dtype = tuple(self.shapes[entry]), self.dtypes[entry]
        nbytes = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
        return {"shape": shape, "dtype": dtype, "nbytes": nbytes, "storage": self.storage[entry]}

    @property
    def outputs(self) -> list[dict]:
        """The tensors that it gives."""
        return [self.tensor(node, output) for node, output, _ in self.nodes["heads"]]

    def kernels(self) -> list[tuple]:
        """(name, node) of each kernel call, in order."""
        named = [
            (node["attrs"]["func_name"], i) for i, node in enumerate(self.nodes["nodes"]) if node["op"] == "tvm_op"
        ]
        return [(name, i) for name, i in named if name != NO_OP]


def program_of(graph_json: str, frame: Frame, weights: dict) -> tuple[dict[str, Any], np.ndarray]:
    """The program as `Engine` describes it, and all weights in one uint8 array.

    Parameters
    ----------
    graph_json : str
    frame : Frame
        Given by address.
    weights : dict of str to numpy array
        By the names of the graph's inputs.
    """
    fields, offset = [], 0
    for name, value in weights.items():
        fields.append({"name": name, "offset": offset, "shape": list(value.shape), "dtype": str(value.dtype)})
        offset += -(-value.nbytes // ALIGNMENT) * ALIGNMENT
    packed = np.zeros(max(offset, ALIGNMENT), np.uint8)  # a network may have no weights
    for field, value in zip(fields, weights.values()):
        packed[field["offset"] : field["offset"] + value.nbytes] = np.ascontiguousarray(value).view(np.uint8).ravel()
    graph = Graph(graph_json)
    _require_own_memory(graph)
    outputs = [
        {"name": f"output{i}", "shape": list(tensor["shape"]), "dtype": tensor["dtype"]}
        for i, tensor in enumerate(graph.outputs)
    ]
    return {"graph": graph_json, "inputs": frame_inputs(frame), "outputs": outputs, "weights": fields}, packed


def _require_own_memory(graph: Graph) -> None:
    """Refuse outputs that no kernel could write where a caller wants them."""
    given = {graph.tensor(node)["storage"] for node, each in enumerate(graph.nodes["nodes"]) if each["op"] == "null"}
    for number, output in enumerate(graph.outputs):
        if output["storage"] in given:
            raise ModelError(f"output {number} of the model is another output, an input or a constant; leave it out")
        given.add(output["storage"])


def frame_inputs(frame: Frame) -> list[dict]:
    """The frame's tensors as `Signature` describes inputs: None where extent, row pitch or distance are free."""
    tensors, found = frame_tensors(frame), []
    for name, shape in zip(tensors.names, tensors.shapes):
        extents = [None if frame.dynamic else int(side) for side in shape]
        if len(shape) == 3 + (frame.batch > 1):
            extents[-1] = int(shape[-1])  # channels
        if frame.batch > 1:
            extents[0] = frame.batch
        row = 1 if frame.batch > 1 else 0
        strides = [1] * len(shape)
        for axis in reversed(range(row + 1, len(shape) - 1)):
            strides[axis] = strides[axis + 1] * int(shape[axis + 1])
        strides[row] = frame.pitch if frame.pitch is not None and not found else None
        if frame.batch > 1:
            strides[0] = None
        found.append({"name": name, "shape": extents, "dtype": "uint8", "strides": strides})
    return found


def copy_report(graph_json: str, functions, program: dict, frame: Frame) -> CopyReport:
    """Every buffer of the graph and every kernel that only moves bytes.

    Parameters
    ----------
    graph_json : str
    functions : mapping of kernel name to FunctionInfo
        ``executor_factory.function_metadata``: the Relay function that became each kernel.
    program : dict
        From `program_of`.
    """
    graph = Graph(graph_json)
    rows = []
    for tensor, shape in zip(program["inputs"], frame_tensors(frame).shapes):
        nbytes = None if frame.dynamic else int(np.prod([int(side) for side in shape]))
        rows.append(CopyRow(tensor["name"], "input", "in place", nbytes))
    rows += [CopyRow(f"output{i}", "output", "in place", each["nbytes"]) for i, each in enumerate(graph.outputs)]
    weights = sum(int(np.prod(field["shape"])) * np.dtype(field["dtype"]).itemsize for field in program["weights"])
    rows.append(CopyRow("constants", "weights", "planned", weights))
    bound = {tensor["storage"] for tensor in graph.outputs}
    bound |= {graph.tensor(node)["storage"] for node in graph.nodes["arg_nodes"]}
    sizes = {}
    for name, node in graph.kernels():
        for output in range(int(graph.nodes["nodes"][node]["attrs"]["num_outputs"])):
            tensor = graph.tensor(node, output)
            if tensor["storage"] not in bound:
                sizes[tensor["storage"]] = max(tensor["nbytes"], sizes.get(tensor["storage"], 0))
        reason = _move(name, functions)
        if reason:
            rows.append(CopyRow(name.replace("tvmgen_default_", "", 1), reason, "copied", graph.tensor(node)["nbytes"]))
    rows += [CopyRow(f"storage{key}", "intermediate", "planned", size) for key, size in sorted(sizes.items())]
    return CopyReport(tuple(rows))


def _move(name: str, functions):
    """Why a kernel that only moves does so; None if it computes."""
    if name not in functions:
        return None
    operators = set()

    def visit(expr):
        if isinstance(expr, relay.Call) and hasattr(expr.op, "name"):
            operators.add(expr.op.name)

    for function in functions[name].relay_primfuncs.values():
        relay.analysis.post_order_visit(function, visit)
    if not operators or not operators <= set(MOVES):
        return None
    telling = sorted(operators - {"reshape", "expand_dims", "squeeze"}) or sorted(operators)
    return MOVES[telling[0]]
