"""YOLOv5 since release 6.0: backbone with C3 and SPPF, PAN neck, anchor head; output (n, boxes, 5 + classes)."""

from typing import List

import numpy as np

from .blocks import Blocks, make_divisible, scaled_depth
from .graph import Tensor

SCALES = {  # (depth multiple, width multiple)
    "yolov5n": (0.33, 0.25),
    "yolov5s": (0.33, 0.50),
    "yolov5m": (0.67, 0.75),
    "yolov5l": (1.00, 1.00),
    "yolov5x": (1.33, 1.25),
}
STRIDES = (8, 16, 32)
ANCHORS = np.array(  # width and height in pixels, three a level; the COCO anchors of models/yolov5s.yaml
    [
        [[10, 13], [16, 30], [33, 23]],
        [[30, 61], [62, 45], [59, 119]],
        [[116, 90], [156, 198], [373, 326]],
    ],
    np.float32,
)


def yolov5(b: Blocks, x: Tensor, classes: int, depth: float, width: float) -> Tensor:
    """The whole network from ``images`` to decoded boxes (cx, cy, w, h, objectness, classes...), input pixels."""

    def ch(channels):
        return make_divisible(channels * width)

    def n(count):
        return scaled_depth(count, depth)

    x = b.conv("model.0", x, ch(64), 6, 2, pad=2)
    x = b.conv("model.1", x, ch(128), 3, 2)
    x = b.c3("model.2", x, ch(128), n(3), True)
    x = b.conv("model.3", x, ch(256), 3, 2)
    p3 = b.c3("model.4", x, ch(256), n(6), True)
    x = b.conv("model.5", p3, ch(512), 3, 2)
    p4 = b.c3("model.6", x, ch(512), n(9), True)
    x = b.conv("model.7", p4, ch(1024), 3, 2)
    x = b.c3("model.8", x, ch(1024), n(3), True)
    x = b.sppf("model.9", x, ch(1024))

    top = b.conv("model.10", x, ch(512))
    x = b.concat("model.12", [b.upsample("model.11", top), p4])
    x = b.c3("model.13", x, ch(512), n(3), False)
    middle = b.conv("model.14", x, ch(256))
    x = b.concat("model.16", [b.upsample("model.15", middle), p3])
    small = b.c3("model.17", x, ch(256), n(3), False)
    x = b.concat("model.19", [b.conv("model.18", small, ch(256), 3, 2), middle])
    medium = b.c3("model.20", x, ch(512), n(3), False)
    x = b.concat("model.22", [b.conv("model.21", medium, ch(512), 3, 2), top])
    large = b.c3("model.23", x, ch(1024), n(3), False)
    return _detect(b, "model.24", [small, medium, large], classes)


def _detect(b: Blocks, name: str, levels: List[Tensor], classes: int) -> Tensor:
    g, node = b.graph, b.node_name(name)
    anchors_per_level = ANCHORS.shape[1]
    in_cells = ANCHORS / np.reshape(STRIDES, (3, 1, 1))  # checkpoints keep anchors in units of the stride
    anchors = b.weights.optional(f"{name}.anchors", ANCHORS.shape, in_cells)
    row = 5 + classes
    two = g.constant(f"{name}.two", np.array(2, np.float32))
    outputs = []
    for i, (x, stride) in enumerate(zip(levels, STRIDES)):
        part = f"{node}/{i}"
        x = b.plain_conv(f"{name}.m.{i}", x, anchors_per_level * row, _prior(stride, anchors_per_level, classes))
        batch, _, h, w = x.shape
        x = g.reshape(f"{part}/split_anchors", x, (batch, anchors_per_level, row, h, w))
        x = g.transpose(part, x, (0, 1, 3, 4, 2))
        x = g.unary("Sigmoid", part, x)
        xy, wh, scores = g.split(part, x, [2, 2, classes + 1], axis=4)

        # xy = (2 s - 0.5 + cell) * stride; wh = (2 s)^2 * anchor  (YOLOv5, models/yolo.py, Detect)
        grid = np.stack(np.meshgrid(np.arange(w), np.arange(h), indexing="xy"), -1) - 0.5
        grid = np.broadcast_to(grid, (1, anchors_per_level, h, w, 2)).astype(np.float32)
        xy = g.binary("Mul", f"{part}/xy_twice", xy, two)
        xy = g.binary("Add", f"{part}/xy_cell", xy, g.constant(f"{name}.grid.{i}", grid))
        xy = g.binary("Mul", f"{part}/xy", xy, g.constant(f"{name}.stride.{i}", np.array(stride, np.float32)))

        anchor_grid = np.broadcast_to((anchors[i] * stride).reshape(1, anchors_per_level, 1, 1, 2), grid.shape)
        wh = g.binary("Mul", f"{part}/wh_twice", wh, two)
        wh = g.binary("Pow", f"{part}/wh_square", wh, two)
        wh = g.binary("Mul", f"{part}/wh", wh, g.constant(f"{name}.anchor_grid.{i}", anchor_grid))

        x = g.concat(part, [xy, wh, scores], axis=4)
        outputs.append(g.reshape(f"{part}/flatten", x, (batch, anchors_per_level * h * w, row)))
    return g.concat(node, outputs, axis=1)


def _prior(stride: int, anchors: int, classes: int) -> np.ndarray:
    """Head bias for random weights: few boxes pass a usual confidence threshold, as in a trained model."""
    bias = np.zeros((anchors, 5 + classes), np.float32)
    bias[:, 4] = -4.0
    bias[:, 5:] = -2.0
    return bias.reshape(-1)
