"""The networks of ``tvm_zerocopy.models`` in PyTorch, as its users write them: from their ONNX graphs, node by node.

Weights of convolutions and linear layers have the type that is asked for; grids, anchors and strides stay float32, so
that boxes are decoded in float32, as in this project. ``x * sigmoid(x)`` becomes SiLU.
"""

from __future__ import annotations

import operator

import onnx
import torch
from onnx import numpy_helper
from torch.nn import functional

from tvm_zerocopy.errors import UnsupportedError

_ELEMENTWISE = {"Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Pow": torch.pow}
_UNARY = {"Relu": functional.relu, "Sigmoid": torch.sigmoid}


def network(model: onnx.ModelProto, dtype: torch.dtype, memory_format=torch.channels_last) -> torch.fx.GraphModule:
    """A module (image) -> raw output, for inference.

    Parameters
    ----------
    model : onnx.ModelProto
        As ``tvm_zerocopy.models.build`` makes it of YOLOv5, YOLOv8 and ResNet, opset 13.
    dtype : torch.dtype
        Of weights and image.
    memory_format : torch.memory_format
        Of the weights.

    Raises
    ------
    UnsupportedError
        If the model has an operator that none of those networks has.
    """
    return _Importer(model, dtype, memory_format).module()


class _Importer:
    def __init__(self, model, dtype, memory_format):
        self._model, self._dtype, self._format = model, dtype, memory_format
        self._graph, self._root, self._values = torch.fx.Graph(), torch.nn.Module(), {}
        self._constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
        self._sigmoids = {}  # output -> input

    def module(self) -> torch.fx.GraphModule:
        (image,) = self._model.graph.input
        (output,) = self._model.graph.output
        self._values[image.name] = self._graph.placeholder("image")
        for node in self._model.graph.node:
            found = self._convert(node, {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute})
            for name, value in zip(node.output, found if isinstance(found, list) else [found]):
                self._values[name] = value
        self._graph.output(self._values[output.name])
        self._graph.eliminate_dead_code()
        return torch.fx.GraphModule(self._root, self._graph).eval()

    def _convert(self, node, attributes):
        if node.op_type in _ELEMENTWISE:
            return self._elementwise(node)
        if node.op_type in _UNARY:
            if node.op_type == "Sigmoid":
                self._sigmoids[node.output[0]] = node.input[0]
            return self._call(_UNARY[node.op_type], self._values[node.input[0]])
        method = getattr(self, f"_{node.op_type.lower()}", None)
        if method is None:
            raise UnsupportedError(f"the networks compared with PyTorch have no {node.op_type}; it has no translation")
        return method(node, attributes)

    def _call(self, function, *arguments, **named):
        return self._graph.call_function(function, arguments, named)

    def _weight(self, name):
        """A convolution's or linear layer's, as a buffer of the module; None if the node has none."""
        if not name:
            return None
        value = torch.from_numpy(self._constants[name].copy()).to(self._dtype)
        if value.dim() == 4:
            value = value.contiguous(memory_format=self._format)
        return self._buffer(name, value)

    def _buffer(self, name, value):
        attribute = "w_" + name.replace(".", "_").replace("/", "_")
        if not hasattr(self._root, attribute):
            self._root.register_buffer(attribute, value)
        return self._graph.get_attr(attribute)

    def _value(self, name):
        """A tensor of the graph, or a constant in float32: as a number if it is one."""
        if name in self._values:
            return self._values[name]
        constant = self._constants[name]
        return constant.item() if constant.ndim == 0 else self._buffer(name, torch.from_numpy(constant.copy()))

    def _integers(self, name) -> list[int]:
        return [int(value) for value in self._constants[name]]

    def _elementwise(self, node):
        a, b = node.input
        if node.op_type == "Mul" and self._sigmoids.get(b) == a:
            return self._call(functional.silu, self._values[a])
        return self._call(_ELEMENTWISE[node.op_type], self._value(a), self._value(b))

    # --- operators with attributes ----------------------------------------------------------------------------------

    def _conv(self, node, attributes):
        x, weight, bias = (*node.input, "")[:3]
        top, left, bottom, right = attributes.get("pads", [0] * 4)
        assert (top, left) == (bottom, right)
        window = {"stride": attributes.get("strides", [1, 1]), "padding": [top, left], "groups": attributes["group"]}
        return self._call(
            functional.conv2d, self._values[x], self._weight(weight), self._weight(bias), dilation=1, **window
        )

    def _gemm(self, node, attributes):
        assert attributes["transB"] == 1 and attributes["alpha"] == attributes["beta"] == 1
        x, weight, bias = node.input
        return self._call(functional.linear, self._values[x], self._weight(weight), self._weight(bias))

    def _maxpool(self, node, attributes):
        padding = attributes["pads"][:2]
        return self._call(
            functional.max_pool2d,
            self._values[node.input[0]],
            attributes["kernel_shape"],
            attributes["strides"],
            padding,
        )

    def _globalaveragepool(self, node, _):
        return self._call(functional.adaptive_avg_pool2d, self._values[node.input[0]], 1)

    def _resize(self, node, attributes):
        scale = self._constants[node.input[2]]
        assert attributes["mode"] == b"nearest" and scale[0] == scale[1] == 1 and scale[2] == scale[3]
        return self._call(
            functional.interpolate, self._values[node.input[0]], scale_factor=float(scale[2]), mode="nearest"
        )

    def _concat(self, node, attributes):
        return self._call(torch.cat, [self._value(name) for name in node.input], attributes["axis"])

    def _split(self, node, attributes):
        sizes = self._integers(node.input[1])
        parts = self._call(torch.split, self._values[node.input[0]], sizes, attributes["axis"])
        return [self._call(operator.getitem, parts, index) for index in range(len(sizes))]

    def _reshape(self, node, _):
        return self._call(torch.reshape, self._values[node.input[0]], self._integers(node.input[1]))

    def _transpose(self, node, attributes):
        return self._call(torch.permute, self._values[node.input[0]], attributes["perm"])

    def _softmax(self, node, attributes):
        return self._call(torch.softmax, self._values[node.input[0]], attributes["axis"])

    def _flatten(self, node, attributes):
        return self._call(torch.flatten, self._values[node.input[0]], attributes["axis"])
