"""Folds what an ONNX graph computes from shapes and constants alone, once its input shapes are fixed.

Exporters write the shape arithmetic of dynamic graphs (Shape, Gather, Div, Concat, ... feeding Reshape, Resize, Pad and
anchor grids). With fixed inputs all of it is constant, and TVM's importer wants it so.
"""

from typing import Dict, List

import numpy as np
import onnx
from onnx import numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator

# Shape arithmetic and anchor grids are small; folding larger results would only make the file larger.
MAX_ELEMENTS = 1 << 20
# Operators whose value depends on more than their inputs.
UNSTABLE = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Bernoulli", "Multinomial"}


def fold_shapes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model without its shape arithmetic.

    Parameters
    ----------
    proto : onnx.ModelProto
        With static input shapes. It is not changed; without anything to fold it is returned as it is.
    """
    if not any(node.op_type in ("Shape", "Size", "ConstantOfShape", "Range") for node in proto.graph.node):
        return proto
    current = onnx.ModelProto()
    current.CopyFrom(proto)
    while True:
        del current.graph.value_info[:]  # exporters' own notes may contradict the shapes that were fixed
        try:
            current = shape_inference.infer_shapes(current, data_prop=True)
        except shape_inference.InferenceError:
            return proto  # the importer will say what is wrong with it
        folded = _fold_once(current)
        if folded is None:
            return current
        current = folded


def _fold_once(proto: onnx.ModelProto):
    """One pass in topological order; None if nothing could be folded."""
    graph = proto.graph
    shapes = static_shapes(graph)
    known: Dict[str, np.ndarray] = {
        item.name: numpy_helper.to_array(item) for item in graph.initializer if _elements(item.dims) <= MAX_ELEMENTS
    }
    outputs = {output.name for output in graph.output}
    kept: List[onnx.NodeProto] = []
    fresh: Dict[str, np.ndarray] = {}
    for node in graph.node:
        values = _evaluate(node, known, shapes, proto.opset_import)
        if values is None or outputs.intersection(node.output):
            kept.append(node)
            continue
        known.update(values)
        fresh.update(values)
    if not fresh:
        return None
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    result.graph.node.extend(kept)
    used = {name for node in kept for name in node.input} | outputs
    constants = [numpy_helper.from_array(np.array(value, order="C"), name) for name, value in fresh.items()]
    del result.graph.initializer[:]
    result.graph.initializer.extend(item for item in (*graph.initializer, *constants) if item.name in used)
    return result


def _evaluate(node, known, shapes, opsets):
    """A node's outputs by name, where they are constant; else None."""
    if node.op_type == "Shape" and node.input[0] in shapes:
        start, end = _attribute(node, "start", 0), _attribute(node, "end", None)
        return {node.output[0]: np.array(shapes[node.input[0]], np.int64)[start:end]}
    if node.op_type == "Size" and node.input[0] in shapes:
        return {node.output[0]: np.array(_elements(shapes[node.input[0]]), np.int64)}
    if node.op_type in UNSTABLE or any(attribute.HasField("g") for attribute in node.attribute):
        return None
    if any(name and name not in known for name in node.input):
        return None
    if any(_elements(shapes.get(name, ())) > MAX_ELEMENTS for name in node.output):
        return None
    try:
        values = ReferenceEvaluator(node, opsets={item.domain: item.version for item in opsets}).run(
            None, {name: known[name] for name in node.input if name}
        )
    except Exception:  # whatever the reference cannot do stays in the graph, for the importer to judge
        return None
    return {name: np.asarray(value) for name, value in zip(node.output, values) if name}


def static_shapes(graph) -> Dict[str, tuple]:
    """Shapes of the graph's weights, inputs and inferred values, by name, where every axis is a number."""
    shapes = {item.name: tuple(item.dims) for item in graph.initializer}
    for item in (*graph.input, *graph.value_info):
        tensor = item.type.tensor_type
        dims = tensor.shape.dim
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes[item.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _elements(dims) -> int:
    return int(np.prod(dims, dtype=np.int64)) if len(dims) else 1


def _attribute(node, name, default):
    return next((onnx.helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)
