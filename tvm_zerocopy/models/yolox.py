"""YOLOX, exported with ``decode_in_inference=False``: raw grid output (n, boxes, 5 + classes).

Box columns are offsets in cells and log sizes: cx = (x + column) * stride, w = exp(w) * stride; objectness and classes
are sigmoids already.
"""

from typing import List

import numpy as np

from .blocks import RESIDUAL_GAIN, SILU_GAIN, Blocks
from .graph import Tensor

SCALES = {  # (depth multiple, width multiple, depthwise convolutions)
    "yolox_nano": (0.33, 0.25, True),
    "yolox_tiny": (0.33, 0.375, False),
    "yolox_s": (0.33, 0.50, False),
    "yolox_m": (0.67, 0.75, False),
    "yolox_l": (1.00, 1.00, False),
    "yolox_x": (1.33, 1.25, False),
}
STRIDES = (8, 16, 32)


class _YoloxBlocks(Blocks):
    """YOLOX's own blocks; ``depthwise`` replaces its k x k convolutions by depthwise + pointwise pairs."""

    def __init__(self, blocks: Blocks, depthwise: bool):
        super().__init__(blocks.graph, blocks.weights)
        self.depthwise = depthwise

    def spatial(self, name, x: Tensor, out: int, kernel=3, stride=1, gain=SILU_GAIN) -> Tensor:
        if not self.depthwise:
            return self.conv(name, x, out, kernel, stride, gain=gain)
        x = self.conv(f"{name}.dconv", x, x.shape[1], kernel, stride, groups=x.shape[1])
        return self.conv(f"{name}.pconv", x, out, gain=gain)

    def focus(self, name, x: Tensor, out: int) -> Tensor:
        """Every second pixel, four ways: half the size, four times the channels."""
        g, node, parts = self.graph, self.node_name(name), []
        for dx in (0, 1):
            for dy in (0, 1):
                rows = g.slice(f"{node}/rows_{dy}{dx}", x, 2, dy, x.shape[2], 2)
                parts.append(g.slice(f"{node}/columns_{dy}{dx}", rows, 3, dx, x.shape[3], 2))
        return self.conv(f"{name}.conv", self.concat(name, parts), out, 3)

    def csp(self, name, x: Tensor, out: int, count: int, shortcut: bool) -> Tensor:
        y = self.conv(f"{name}.conv1", x, out // 2)
        past = self.conv(f"{name}.conv2", x, out // 2)
        for i in range(count):
            inner = self.conv(f"{name}.m.{i}.conv1", y, out // 2)
            gain = RESIDUAL_GAIN if shortcut else SILU_GAIN
            inner = self.spatial(f"{name}.m.{i}.conv2", inner, out // 2, gain=gain)
            y = self.add(f"{name}.m.{i}", inner, y) if shortcut else inner
        return self.conv(f"{name}.conv3", self.concat(name, [y, past]), out)

    def spp(self, name, x: Tensor, out: int) -> Tensor:
        y = self.conv(f"{name}.conv1", x, x.shape[1] // 2)
        pools = [
            self.graph.max_pool(f"{self.node_name(name)}/m.{i}", y, k, 1, k // 2) for i, k in enumerate((5, 9, 13))
        ]
        return self.conv(f"{name}.conv2", self.concat(name, [y, *pools]), out)


def yolox(blocks: Blocks, x: Tensor, classes: int, depth: float, width: float, depthwise: bool = False) -> Tensor:
    """The whole network from ``images`` to the raw grid output."""
    b = _YoloxBlocks(blocks, depthwise)
    base, count = int(width * 64), max(round(depth * 3), 1)
    c3, c4, c5 = (int(c * width) for c in (256, 512, 1024))

    dark = "backbone.backbone"
    x = b.focus(f"{dark}.stem", x, base)
    x = b.csp(f"{dark}.dark2.1", b.spatial(f"{dark}.dark2.0", x, base * 2, 3, 2), base * 2, count, True)
    x = b.spatial(f"{dark}.dark3.0", x, base * 4, 3, 2)
    p3 = b.csp(f"{dark}.dark3.1", x, base * 4, count * 3, True)
    x = b.spatial(f"{dark}.dark4.0", p3, base * 8, 3, 2)
    p4 = b.csp(f"{dark}.dark4.1", x, base * 8, count * 3, True)
    x = b.spatial(f"{dark}.dark5.0", p4, base * 16, 3, 2)
    x = b.spp(f"{dark}.dark5.1", x, base * 16)
    p5 = b.csp(f"{dark}.dark5.2", x, base * 16, count, False)

    count = round(3 * depth)
    top = b.conv("backbone.lateral_conv0", p5, c4)
    x = b.concat("backbone.cat_p4", [b.upsample("backbone.upsample_p5", top), p4])
    x = b.csp("backbone.C3_p4", x, c4, count, False)
    middle = b.conv("backbone.reduce_conv1", x, c3)
    x = b.concat("backbone.cat_p3", [b.upsample("backbone.upsample_p4", middle), p3])
    small = b.csp("backbone.C3_p3", x, c3, count, False)
    x = b.concat("backbone.cat_n3", [b.spatial("backbone.bu_conv2", small, c3, 3, 2), middle])
    medium = b.csp("backbone.C3_n3", x, c4, count, False)
    x = b.concat("backbone.cat_n4", [b.spatial("backbone.bu_conv1", medium, c4, 3, 2), top])
    large = b.csp("backbone.C3_n4", x, c5, count, False)
    return _head(b, [small, medium, large], classes, c3)


def _head(b: _YoloxBlocks, levels: List[Tensor], classes: int, channels: int) -> Tensor:
    g, flat = b.graph, []
    for i, x in enumerate(levels):
        x = b.conv(f"head.stems.{i}", x, channels)
        cls = reg = x
        for j in range(2):
            cls = b.spatial(f"head.cls_convs.{i}.{j}", cls, channels)
            reg = b.spatial(f"head.reg_convs.{i}.{j}", reg, channels)
        # Biases of random weights: few boxes pass a usual confidence threshold.
        cls = b.plain_conv(f"head.cls_preds.{i}", cls, classes, np.full(classes, -2.0))
        obj = b.plain_conv(f"head.obj_preds.{i}", reg, 1, np.full(1, -4.0))
        reg = b.plain_conv(f"head.reg_preds.{i}", reg, 4, np.zeros(4))
        node = f"/head/{i}"
        scores = [g.unary("Sigmoid", f"{node}/obj", obj), g.unary("Sigmoid", f"{node}/cls", cls)]
        x = g.concat(node, [reg, *scores], axis=1)
        flat.append(g.reshape(node, x, (*x.shape[:2], x.shape[2] * x.shape[3])))
    return g.transpose("/head", g.concat("/head", flat, axis=2), (0, 2, 1))
