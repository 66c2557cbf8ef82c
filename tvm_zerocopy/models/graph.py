"""A small builder over ``onnx.helper``: one method an operator, names as PyTorch's exporter gives them."""

from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..errors import ModelError

OPSETS = range(11, 20)  # 11: what JetPack-era tools read; above 19 nothing here is tested


class Tensor:
    """A value in the graph: its name and its static shape."""

    def __init__(self, name: str, shape: Tuple[int, ...]):
        self.name, self.shape = name, tuple(shape)


class GraphBuilder:
    """Collects nodes and initializers of one float32 network with static shapes.

    Parameters
    ----------
    opset : int
        ONNX operator set, 11 to 19.
    """

    def __init__(self, opset: int = 13):
        if opset not in OPSETS:
            raise ModelError(f"opset is {opset!r}; it must be from {OPSETS[0]} to {OPSETS[-1]}")
        self.opset = opset
        self._nodes: List[onnx.NodeProto] = []
        self._initializers: Dict[str, onnx.TensorProto] = {}

    # -- values ------------------------------------------------------------------------------------------------

    def constant(self, name: str, array: np.ndarray) -> Tensor:
        """An initializer; the same name twice is the same tensor."""
        if name not in self._initializers:
            self._initializers[name] = numpy_helper.from_array(np.ascontiguousarray(array), name)
        return Tensor(name, array.shape)

    def _ints(self, name: str, values: Sequence[int]) -> str:
        return self.constant(name, np.asarray(values, np.int64)).name

    def _node(self, op: str, name: str, inputs: Sequence[str], shapes: Sequence[Tuple[int, ...]], **attrs):
        outputs = [f"{name}/{op}_output_{i}" for i in range(len(shapes))]
        self._nodes.append(helper.make_node(op, list(inputs), outputs, name=f"{name}/{op}", **attrs))
        return [Tensor(output, shape) for output, shape in zip(outputs, shapes)]

    def _one(self, op: str, name: str, inputs: Sequence[str], shape: Tuple[int, ...], **attrs) -> Tensor:
        return self._node(op, name, inputs, [shape], **attrs)[0]

    # -- operators ---------------------------------------------------------------------------------------------

    def conv(self, name, x: Tensor, weight, bias=None, stride=1, pad=0, groups=1, param=None) -> Tensor:
        """2-D convolution; weight OIHW, padding the same on all sides; ``param`` is the initializers' name stem."""
        n, _, h, w = x.shape
        o, _, kh, kw = weight.shape
        param = param or name.strip("/").replace("/", ".")
        inputs = [x.name, self.constant(param + ".weight", weight).name]
        if bias is not None:
            inputs.append(self.constant(param + ".bias", bias).name)
        shape = (n, o, (h + 2 * pad - kh) // stride + 1, (w + 2 * pad - kw) // stride + 1)
        attrs = {"kernel_shape": [kh, kw], "strides": [stride] * 2, "pads": [pad] * 4, "dilations": [1, 1]}
        return self._one("Conv", name, inputs, shape, group=groups, **attrs)

    def max_pool(self, name, x: Tensor, kernel: int, stride: int = 1, pad: int = 0) -> Tensor:
        n, c, h, w = x.shape
        shape = (n, c, (h + 2 * pad - kernel) // stride + 1, (w + 2 * pad - kernel) // stride + 1)
        attrs = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
        return self._one("MaxPool", name, [x.name], shape, ceil_mode=0, **attrs)

    def unary(self, op: str, name, x: Tensor) -> Tensor:
        """Relu, Sigmoid, ..."""
        return self._one(op, name, [x.name], x.shape)

    def binary(self, op: str, name, a: Tensor, b: Tensor) -> Tensor:
        """Add, Sub, Mul, Div, Mod or Pow, with broadcasting."""
        return self._one(op, name, [a.name, b.name], np.broadcast_shapes(a.shape, b.shape))

    def silu(self, name, x: Tensor) -> Tensor:
        """x * sigmoid(x), as two nodes: ONNX had no SiLU when the exporters were written."""
        return self.binary("Mul", name, x, self.unary("Sigmoid", name, x))

    def concat(self, name, tensors: Sequence[Tensor], axis: int) -> Tensor:
        shape = list(tensors[0].shape)
        shape[axis] = sum(t.shape[axis] for t in tensors)
        return self._one("Concat", name, [t.name for t in tensors], tuple(shape), axis=axis)

    def split(self, name, x: Tensor, sizes: Sequence[int], axis: int) -> List[Tensor]:
        shapes = [x.shape[:axis] + (size,) + x.shape[axis + 1 :] for size in sizes]
        if self.opset < 13:
            return self._node("Split", name, [x.name], shapes, axis=axis, split=list(sizes))
        return self._node("Split", name, [x.name, self._ints(f"{name}/sizes", sizes)], shapes, axis=axis)

    def slice(self, name, x: Tensor, axis: int, start: int, end: int, step: int = 1) -> Tensor:
        shape = list(x.shape)
        shape[axis] = len(range(*slice(start, end, step).indices(shape[axis])))
        parts = [("starts", start), ("ends", end), ("axes", axis), ("steps", step)]
        inputs = [x.name, *(self._ints(f"{name}/{part}", [value]) for part, value in parts)]
        return self._one("Slice", name, inputs, tuple(shape))

    def reshape(self, name, x: Tensor, shape: Sequence[int]) -> Tensor:
        return self._one("Reshape", name, [x.name, self._ints(f"{name}/shape", shape)], tuple(shape))

    def transpose(self, name, x: Tensor, perm: Sequence[int]) -> Tensor:
        return self._one("Transpose", name, [x.name], tuple(x.shape[p] for p in perm), perm=list(perm))

    def softmax(self, name, x: Tensor, axis: int) -> Tensor:
        """Softmax along one axis; before opset 13 the operator flattens, so the axis is moved to the end and back."""
        last = len(x.shape) - 1
        if self.opset >= 13 or axis == last:
            return self._one("Softmax", name, [x.name], x.shape, axis=axis)
        perm = list(range(len(x.shape)))
        perm[axis], perm[last] = last, axis
        moved = self.transpose(f"{name}/to_last", x, perm)
        soft = self._one("Softmax", name, [moved.name], moved.shape, axis=last)
        return self.transpose(f"{name}/from_last", soft, perm)

    def upsample(self, name, x: Tensor, factor: int = 2) -> Tensor:
        """Nearest-neighbour upsampling, as ``nn.Upsample(scale_factor=2, mode="nearest")`` exports."""
        n, c, h, w = x.shape
        # An absent roi is allowed from opset 13; before, an empty one.
        roi = "" if self.opset >= 13 else self.constant("resize.roi", np.zeros(0, np.float32)).name
        scales = self.constant(f"resize.scales_{factor}", np.array([1, 1, factor, factor], np.float32)).name
        attrs = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self._one("Resize", name, [x.name, roi, scales], (n, c, h * factor, w * factor), **attrs)

    def matmul(self, name, a: Tensor, b: Tensor) -> Tensor:
        """Matrix product of the last two axes; the others are equal."""
        return self._one("MatMul", name, [a.name, b.name], a.shape[:-1] + b.shape[-1:])

    def top_k(self, name, x: Tensor, k: int, axis: int) -> List[Tensor]:
        """The k greatest along an axis, greatest first, and their places there (int64)."""
        shape = x.shape[:axis] + (k,) + x.shape[axis + 1 :]
        return self._node("TopK", name, [x.name, self._ints(f"{name}/k", [k])], [shape] * 2, axis=axis)

    def gather_elements(self, name, x: Tensor, index: Tensor, axis: int) -> Tensor:
        """``x`` at ``index`` along an axis; the index has as many axes as ``x``."""
        return self._one("GatherElements", name, [x.name, index.name], index.shape, axis=axis)

    def expand(self, name, x: Tensor, shape: Sequence[int]) -> Tensor:
        return self._one("Expand", name, [x.name, self._ints(f"{name}/shape", shape)], tuple(shape))

    def reduce_max(self, name, x: Tensor, axis: int) -> Tensor:
        """The greatest along an axis, which goes."""
        shape = x.shape[:axis] + x.shape[axis + 1 :]
        if self.opset < 18:
            return self._one("ReduceMax", name, [x.name], shape, axes=[axis], keepdims=0)
        return self._one("ReduceMax", name, [x.name, self._ints(f"{name}/axes", [axis])], shape, keepdims=0)

    def to_float(self, name, x: Tensor) -> Tensor:
        return self._one("Cast", name, [x.name], x.shape, to=TensorProto.FLOAT)

    def global_average_pool(self, name, x: Tensor) -> Tensor:
        return self._one("GlobalAveragePool", name, [x.name], x.shape[:2] + (1, 1))

    def flatten(self, name, x: Tensor) -> Tensor:
        return self._one("Flatten", name, [x.name], (x.shape[0], int(np.prod(x.shape[1:]))), axis=1)

    def gemm(self, name, x: Tensor, weight, bias, param: str) -> Tensor:
        """x @ weight.T + bias, as ``nn.Linear`` exports."""
        inputs = [x.name, self.constant(param + ".weight", weight).name, self.constant(param + ".bias", bias).name]
        return self._one("Gemm", name, inputs, (x.shape[0], weight.shape[0]), alpha=1.0, beta=1.0, transB=1)

    # -- the finished model ------------------------------------------------------------------------------------

    def model(
        self, name: str, inputs: Dict[str, Tensor], outputs: Dict[str, Tensor], metadata: Optional[Dict] = None
    ) -> onnx.ModelProto:
        """A checked ModelProto whose outputs carry the given names."""
        rename = {tensor.name: public for public, tensor in outputs.items()}
        for node in self._nodes:
            for field in (node.input, node.output):
                for i, value in enumerate(field):
                    field[i] = rename.get(value, value)
        graph = helper.make_graph(
            self._nodes,
            name,
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, t.shape) for k, t in inputs.items()],
            [helper.make_tensor_value_info(k, TensorProto.FLOAT, t.shape) for k, t in outputs.items()],
            list(self._initializers.values()),
        )
        # IR version 8 is the newest that every runtime of the opsets above reads.
        opset_imports = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opset_imports, ir_version=8, producer_name="tvm-zerocopy")
        helper.set_model_props(model, {k: str(v) for k, v in (metadata or {}).items()})
        onnx.checker.check_model(model)
        return model
