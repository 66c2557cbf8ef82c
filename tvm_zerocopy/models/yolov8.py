"""YOLOv8: C2f backbone and neck, anchor-free head with distribution focal boxes; raw output (n, 4 + classes, boxes)."""

from typing import List

import numpy as np

from .blocks import Blocks, make_divisible, scaled_depth
from .graph import Tensor

SCALES = {  # (depth multiple, width multiple, most channels before scaling)
    "yolov8n": (0.33, 0.25, 1024),
    "yolov8s": (0.33, 0.50, 1024),
    "yolov8m": (0.67, 0.75, 768),
    "yolov8l": (1.00, 1.00, 512),
    "yolov8x": (1.00, 1.25, 512),
}
STRIDES = (8, 16, 32)
BINS = 16  # each box side is a distribution over distances of 0 to 15 cells


def yolov8(b: Blocks, x: Tensor, classes: int, depth: float, width: float, max_channels: int = 1024) -> Tensor:
    """The whole network from ``images`` to decoded boxes (cx, cy, w, h, classes...), input pixels."""

    def ch(channels):
        return make_divisible(min(channels, max_channels) * width)

    def n(count):
        return scaled_depth(count, depth)

    x = b.conv("model.0", x, ch(64), 3, 2)
    x = b.conv("model.1", x, ch(128), 3, 2)
    x = b.c2f("model.2", x, ch(128), n(3), True)
    x = b.conv("model.3", x, ch(256), 3, 2)
    p3 = b.c2f("model.4", x, ch(256), n(6), True)
    x = b.conv("model.5", p3, ch(512), 3, 2)
    p4 = b.c2f("model.6", x, ch(512), n(6), True)
    x = b.conv("model.7", p4, ch(1024), 3, 2)
    x = b.c2f("model.8", x, ch(1024), n(3), True)
    top = b.sppf("model.9", x, ch(1024))

    x = b.concat("model.11", [b.upsample("model.10", top), p4])
    middle = b.c2f("model.12", x, ch(512), n(3), False)
    x = b.concat("model.14", [b.upsample("model.13", middle), p3])
    small = b.c2f("model.15", x, ch(256), n(3), False)
    x = b.concat("model.17", [b.conv("model.16", small, ch(256), 3, 2), middle])
    medium = b.c2f("model.18", x, ch(512), n(3), False)
    x = b.concat("model.20", [b.conv("model.19", medium, ch(512), 3, 2), top])
    large = b.c2f("model.21", x, ch(1024), n(3), False)
    return _detect(b, "model.22", [small, medium, large], classes)


def _detect(b: Blocks, name: str, levels: List[Tensor], classes: int) -> Tensor:
    g, node = b.graph, b.node_name(name)
    box_width = max(16, levels[0].shape[1] // 4, BINS * 4)
    class_width = max(levels[0].shape[1], min(classes, 100))
    row = 4 * BINS + classes
    batch = levels[0].shape[0]
    flat, centres, strides = [], [], []
    for i, (x, stride) in enumerate(zip(levels, STRIDES)):
        box, cls = x, x
        for j in range(2):
            box = b.conv(f"{name}.cv2.{i}.{j}", box, box_width, 3)
            cls = b.conv(f"{name}.cv3.{i}.{j}", cls, class_width, 3)
        # Biases of random weights: wide boxes, few that pass a usual confidence threshold.
        box = b.plain_conv(f"{name}.cv2.{i}.2", box, 4 * BINS, np.ones(4 * BINS))
        cls = b.plain_conv(f"{name}.cv3.{i}.2", cls, classes, np.full(classes, -6.0))
        x = g.concat(f"{node}/{i}", [box, cls], axis=1)
        h, w = x.shape[2:]
        flat.append(g.reshape(f"{node}/{i}", x, (batch, row, h * w)))
        centres.append(np.stack(np.meshgrid(np.arange(w), np.arange(h), indexing="xy"), 0).reshape(2, -1) + 0.5)
        strides.append(np.full(h * w, stride))
    x = g.concat(f"{node}/levels", flat, axis=2)
    box, cls = g.split(node, x, [4 * BINS, classes], axis=1)
    count = x.shape[2]

    # Expected distance of each side: softmax over the bins, then a 1x1 convolution with weights 0 to 15.
    dfl = f"{node}/dfl"
    box = g.reshape(f"{dfl}/bins", box, (batch, 4, BINS, count))
    box = g.softmax(dfl, g.transpose(dfl, box, (0, 2, 1, 3)), axis=1)
    bins = np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1)
    box = g.conv(f"{dfl}/conv", box, bins, param=f"{name}.dfl.conv")
    box = g.reshape(f"{dfl}/sides", box, (batch, 4, count))

    # left-top and right-bottom distances around the cell centre -> centre and size, times the stride
    anchors = g.constant(f"{name}.anchors", np.concatenate(centres, 1)[None].astype(np.float32))
    left_top, right_bottom = g.split(dfl, box, [2, 2], axis=1)
    first = g.binary("Sub", f"{node}/left_top", anchors, left_top)
    second = g.binary("Add", f"{node}/right_bottom", anchors, right_bottom)
    both = g.binary("Add", f"{node}/both", first, second)
    centre = g.binary("Div", f"{node}/centre", both, g.constant(f"{name}.two", np.array(2, np.float32)))
    size = g.binary("Sub", f"{node}/size", second, first)
    box = g.concat(f"{node}/box", [centre, size], axis=1)
    box = g.binary(
        "Mul", f"{node}/pixels", box, g.constant(f"{name}.strides", np.concatenate(strides)[None].astype("f"))
    )
    return g.concat(node, [box, g.unary("Sigmoid", node, cls)], axis=1)
