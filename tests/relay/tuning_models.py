"""A small network for the tuning tests: two distinct convolutions, one of them twice."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = (16, 16)


def small_onnx(path):
    """Write the network as ONNX: image -> 3x3 convolution -> sigmoid -> two 1x1 convolutions."""
    rng = np.random.default_rng(0)
    nodes, weights, last, channels = [], [], "image", 3
    for number, (out, kernel) in enumerate([(16, 3), (16, 1), (16, 1)]):
        weight = rng.normal(size=(out, channels, kernel, kernel)).astype(np.float32) / np.sqrt(channels)
        weights.append(numpy_helper.from_array(weight, f"weight{number}"))
        pads = [kernel // 2] * 4
        nodes.append(
            helper.make_node("Conv", [last, f"weight{number}"], [f"conv{number}"], kernel_shape=[kernel] * 2, pads=pads)
        )
        nodes.append(helper.make_node("Sigmoid", [f"conv{number}"], [f"out{number}"]))
        last, channels = f"out{number}", out
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *SIZE])],
        [helper.make_tensor_value_info(last, TensorProto.FLOAT, [1, channels, *SIZE])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(path))
    return path
