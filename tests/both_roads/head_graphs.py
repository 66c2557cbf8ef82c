"""Small ONNX models that end in detection heads, or in what only looks like one. Shared by all roads' tests."""

import onnx
from onnx import TensorProto, helper

SIZE = 64  # 84 cells, 252 anchors of three a cell
CELLS, ANCHORS = 84, 252


class Graph:
    """A small ONNX model: an image, convolutions and what a head does after them."""

    def __init__(self, size=SIZE):
        self.size, self.nodes, self.weights, self.outputs = size, [], [], []

    def constant(self, shape, value=0.5, dtype=TensorProto.FLOAT, values=None):
        count = 1
        for side in shape:
            count *= side
        name = f"c{len(self.weights)}"
        self.weights.append(helper.make_tensor(name, dtype, shape, [value] * count if values is None else values))
        return name

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def convolution(self, channels, rows):
        """(1, channels, rows) float32, straight from a convolution with a bias."""
        weight, bias = self.constant([channels, 3, 1, 1]), self.constant([channels])
        feature = self.op("Conv", "images", weight, bias, strides=[4, 4])
        flat = self.op("Reshape", feature, self.constant([3], dtype=TensorProto.INT64, values=[1, channels, -1]))
        tiles = -(-rows // (self.size // 4) ** 2)
        wide = flat if tiles == 1 else self.op("Concat", *[flat] * tiles, axis=2)
        ends = [self.constant([1], dtype=TensorProto.INT64, values=[v]) for v in (0, rows, 2)]
        return self.op("Slice", wide, *ends)

    def returns(self, name, *shape):
        self.outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return self

    def to_onnx(self):
        image = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, self.size, self.size])
        graph = helper.make_graph(self.nodes, "head", [image], self.outputs, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model


def transposed(g, value):
    return g.op("Transpose", value, perm=[0, 2, 1])


def yolov5(rows=ANCHORS, values=85, g=None):
    g = g or Graph()
    value = g.op("Sigmoid", transposed(g, g.convolution(values, rows)))
    ends = g.constant([3], dtype=TensorProto.INT64, values=[2, 2, values - 4])
    xy, wh, rest = g.op("Split", value, ends, outputs=3, axis=2)
    xy = g.op("Add", g.op("Mul", xy, g.constant([1], 2.0)), g.constant([1, rows, 2], 3.0))
    wh = g.op("Mul", g.op("Pow", wh, g.constant([1], 2.0)), g.constant([1, rows, 2], 30.0))
    return g, g.op("Concat", xy, wh, rest, axis=2)


def yolov8(rows=CELLS, classes=80, g=None, decoded=True):
    g = g or Graph()
    boxes = g.convolution(4, rows)
    if decoded:
        boxes = g.op("Mul", g.op("Add", boxes, g.constant([1, 4, rows])), g.constant([1, 1, rows], 8.0))
    return g, g.op("Concat", boxes, g.op("Sigmoid", g.convolution(classes, rows)), axis=1)


def yolox(rows=CELLS, classes=80, decoded=False):
    g = Graph()
    boxes = g.convolution(4, rows)
    if decoded:
        ends = g.constant([2], dtype=TensorProto.INT64, values=[2, 2])
        xy, wh = g.op("Split", boxes, ends, outputs=2, axis=1)
        xy = g.op("Mul", g.op("Add", xy, g.constant([1, 2, rows])), g.constant([1, 1, rows], 8.0))
        boxes = g.op("Concat", xy, g.op("Mul", g.op("Exp", wh), g.constant([1, 1, rows], 8.0)), axis=1)
    scores = [g.op("Sigmoid", g.convolution(n, rows)) for n in (1, classes)]
    return g, transposed(g, g.op("Concat", boxes, *scores, axis=1))


def end2end(rows=30):
    g = Graph()
    value = transposed(g, g.convolution(6, 100))
    scores = g.op("Squeeze", g.op("Gather", value, g.constant([], 4, TensorProto.INT64, [4]), axis=2))
    _, best = g.op("TopK", scores, g.constant([1], dtype=TensorProto.INT64, values=[rows]), outputs=2)
    return g, g.op("Gather", value, best, axis=1)


def yolov10(rows=20, classes=5, cells=CELLS):
    """The ending of YOLOv10 and YOLO26: the best cells, then the best of their (cell, class) pairs."""
    g = Graph()

    def integers(*values):
        return g.constant([len(values)], dtype=TensorProto.INT64, values=list(values))

    def pick(value, index, width):
        tiled = g.op("Tile", g.op("Unsqueeze", index, integers(-1)), integers(1, 1, width))
        return g.op("GatherElements", value, tiled, axis=1)

    boxes = transposed(g, g.op("Mul", g.convolution(4, cells), g.constant([1, 1, cells], 8.0)))
    scores = transposed(g, g.op("Sigmoid", g.convolution(classes, cells)))
    best = g.op("ReduceMax", scores, axes=[-1], keepdims=0)
    _, cell = g.op("TopK", best, integers(rows), outputs=2, axis=1)
    boxes, scores = pick(boxes, cell, 4), pick(scores, cell, classes)
    top, pair = g.op("TopK", g.op("Flatten", scores), integers(rows), outputs=2, axis=-1)
    number = g.constant([], dtype=TensorProto.INT64, values=[classes])
    label = g.op("Cast", g.op("Mod", pair, number), to=TensorProto.FLOAT)
    boxes = pick(boxes, g.op("Div", pair, number), 4)
    columns = [g.op("Unsqueeze", value, integers(-1)) for value in (top, label)]
    return g, g.op("Concat", boxes, *columns, axis=2)


RECOGNIZED = {
    "yolov5": (lambda: yolov5(), (1, ANCHORS, 85), "yolov5"),
    "yolov5, one class": (lambda: yolov5(values=6), (1, ANCHORS, 6), "yolov5"),
    "yolov5 with P6": (lambda: yolov5(rows=3 * 85), (1, 255, 85), "yolov5"),
    "yolov8": (lambda: yolov8(), (1, 84, CELLS), "yolov8"),
    "yolov8, one class": (lambda: yolov8(classes=1), (1, 5, CELLS), "yolov8"),
    "yolov8, as many channels as boxes": (lambda: yolov8(classes=80), (1, 84, 84), "yolov8"),
    "yolox": (lambda: yolox(), (1, CELLS, 85), "yolox"),
    "yolox, one class": (lambda: yolox(classes=1), (1, CELLS, 6), "yolox"),
    "yolox with its decode": (lambda: yolox(decoded=True), (1, CELLS, 85), "yolov5"),
    "end2end": (lambda: end2end(), (1, 30, 6), "end2end"),
    "yolov10": (lambda: yolov10(), (1, 20, 6), "end2end"),
    "end2end, as many boxes as cells": (lambda: end2end(CELLS), (1, CELLS, 6), "end2end"),
}

NOT_RECOGNIZED = {
    "feature maps": (lambda g: g.op("Conv", "images", g.constant([255, 3, 1, 1])), (1, 255, SIZE, SIZE)),
    "yolov5 rows without decode": (
        lambda g: g.op("Sigmoid", transposed(g, g.convolution(85, ANCHORS))),
        (1, ANCHORS, 85),
    ),
    "six values that nothing selected": (lambda g: yolov5(rows=4 * CELLS, values=6, g=g)[1], (1, 4 * CELLS, 6)),
    "a grid of another input size": (lambda g: yolov5(rows=250, g=g)[1], (1, 250, 85)),
    "yolov8 with keypoints": (
        lambda g: g.op("Concat", yolov8(classes=1, g=g)[1], g.convolution(51, CELLS), axis=1),
        (1, 56, CELLS),
    ),
    "rotated boxes": (
        lambda g: g.op("Concat", yolov8(classes=15, g=g)[1], g.op("Sigmoid", g.convolution(1, CELLS)), axis=1),
        (1, 20, CELLS),
    ),
    "a classifier": (lambda g: g.op("Softmax", g.op("Squeeze", g.convolution(1, 100))), (100,)),
}
