"""Convolutions in every tile of both rules, their kernels run on the CPU, against onnxruntime in float32."""

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_networks import managed

import tvm_zerocopy as tz
from tvm_zerocopy.schedules.cuda import conv2d, conv2d_wmma

SIZE = 18  # pixels a side: rows of the product are no multiple of any tile
RULES = {"float32": conv2d, "float16": conv2d_wmma}
BOUNDS = {"float32": 1e-5, "float16": 3e-3}  # of the outputs' range, through as many layers as there are tiles


def tower(windows, channels=64):
    """A network of convolutions with ReLU, one a window (kernel, stride, padding), residuals around equal sizes."""
    random = np.random.default_rng(3)
    nodes, weights, value, depth, size = [], [], "images", 3, SIZE
    for index, (kernel, stride, padding) in enumerate(windows):
        shape = (channels, depth, kernel, kernel)
        scale = (2 / (depth * kernel * kernel)) ** 0.5
        weights.append(numpy_helper.from_array((random.standard_normal(shape) * scale).astype("float32"), f"w{index}"))
        weights.append(numpy_helper.from_array(random.standard_normal(channels).astype("float32") * 0.1, f"b{index}"))
        window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [padding] * 4}
        nodes.append(helper.make_node("Conv", [value, f"w{index}", f"b{index}"], [f"c{index}"], **window))
        nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        after, before, depth, size = f"r{index}", size, channels, (size + 2 * padding - kernel) // stride + 1
        if index and size == before:
            nodes.append(helper.make_node("Add", [after, value], [f"s{index}"]))
            after = f"s{index}"
        value = after
    nodes.append(helper.make_node("Identity", [value], ["output"]))
    inputs = [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])]
    outputs = [helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, channels, size, size])]
    graph = helper.make_graph(nodes, "tower", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("precision", RULES)
def test_every_tile_is_right(compile_emulated, monkeypatch, precision, kernel):
    tiles = RULES[precision].TILES
    left, used = list(tiles), []

    def next_tile(gemm, fitting, machine):
        tile = left.pop(0) if left else fitting[-1]
        used.append(tile)
        return tile

    monkeypatch.setattr(RULES[precision], "best_tile", next_tile)
    # sizes differ from layer to layer by the padding, so that no two layers are one kernel
    model = tower([(kernel, 1, kernel // 2 + index % 2) for index in range(len(tiles))])
    engine = compile_emulated(model, postprocess=None, preprocess=tz.Preprocess(), precision=precision)
    assert set(used) == set(tiles)
    picture = np.random.default_rng(4).integers(0, 256, (SIZE, SIZE, 3), np.uint8)
    found = engine(managed(picture))[0]
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    blob = np.ascontiguousarray(picture[None, :, :, ::-1].transpose(0, 3, 1, 2)).astype("float32") / 255
    expected = session.run(None, {"images": blob})[0]
    assert np.abs(found - expected).max() <= BOUNDS[precision] * np.abs(expected).max()
