"""YOLOv10 (Wang et al., 2024): NMS-free detection; output (n, 300, 6), the best boxes chosen in the graph.

The head that training needs beside the exported one is left out.
"""

import numpy as np

from . import detect
from .blocks import BN_EPS, RESIDUAL_GAIN, SILU_GAIN, Blocks, make_divisible, scaled_depth
from .graph import Tensor

SCALES = {  # (depth multiple, width multiple, compact inverted blocks in the backbone too)
    "yolov10n": (0.33, 0.25, False),
    "yolov10s": (0.33, 0.50, True),
}
MOST = 300  # boxes


def yolov10(b: Blocks, x: Tensor, classes: int, depth: float, width: float, inverted_top: bool = False) -> Tensor:
    """The whole network from ``images`` to the best boxes (x1, y1, x2, y2, score, class), input pixels."""

    def ch(channels):
        return make_divisible(channels * width)

    def n(count):
        return scaled_depth(count, depth)

    def inverted(name, x, out, count):
        return b.split_chain(name, x, out, count, lambda m, y: _inverted_block(b, m, y))

    x = b.conv("model.0", x, ch(64), 3, 2)
    x = b.conv("model.1", x, ch(128), 3, 2)
    x = b.c2f("model.2", x, ch(128), n(3), True)
    x = b.conv("model.3", x, ch(256), 3, 2)
    p3 = b.c2f("model.4", x, ch(256), n(6), True)
    x = _down(b, "model.5", p3, ch(512))
    p4 = b.c2f("model.6", x, ch(512), n(6), True)
    x = _down(b, "model.7", p4, ch(1024))
    x = inverted("model.8", x, ch(1024), n(3)) if inverted_top else b.c2f("model.8", x, ch(1024), n(3), True)
    x = b.sppf("model.9", x, ch(1024))
    top = b.half_through("model.10", x, lambda y: b.attention_block("model.10", y))

    x = b.concat("model.12", [b.upsample("model.11", top), p4])
    middle = b.c2f("model.13", x, ch(512), n(3), False)
    x = b.concat("model.15", [b.upsample("model.14", middle), p3])
    small = b.c2f("model.16", x, ch(256), n(3), False)
    x = b.concat("model.18", [b.conv("model.17", small, ch(256), 3, 2), middle])
    medium = b.c2f("model.19", x, ch(512), n(3), False)
    x = b.concat("model.21", [_down(b, "model.20", medium, ch(512)), top])
    large = inverted("model.22", x, ch(1024), n(3))

    name, levels = "model.23", [small, medium, large]
    for branch in ("cv2.", "cv3."):  # the one-to-many head, for training
        b.weights.leave(f"{name}.{branch}")
    box, cls = "one2one_cv2", "one2one_cv3"
    layers = detect.separable_class_layers(b, f"{name}.{cls}", detect.class_width(levels, classes))
    corners, scores = detect.predictions(b, name, levels, classes, layers, (box, cls))
    return detect.best(b, name, corners, scores, MOST)


def _down(b: Blocks, name: str, x: Tensor, out: int) -> Tensor:
    """Half the size: channels by a 1x1 convolution, pixels by a depthwise one."""
    return b.conv(f"{name}.cv2", b.conv(f"{name}.cv1", x, out), out, 3, 2, groups=out, act=False)


def _inverted_block(b: Blocks, name: str, x: Tensor) -> Tensor:
    """Compact inverted block with a large kernel: depthwise 3x3, out to twice the channels, depthwise 7x7, back."""
    channels = x.shape[1]
    y = b.conv(f"{name}.cv1.0", x, channels, 3, groups=channels)
    y = b.conv(f"{name}.cv1.1", y, 2 * channels)
    y = _large_depthwise(b, f"{name}.cv1.2", y)
    y = b.conv(f"{name}.cv1.3", y, channels)
    y = b.conv(f"{name}.cv1.4", y, channels, 3, groups=channels, gain=RESIDUAL_GAIN)
    return b.add(name, x, y)


def _large_depthwise(b: Blocks, name: str, x: Tensor) -> Tensor:
    """Depthwise 7x7 and 3x3 side by side, as the one convolution that their sum is."""
    channels, node = x.shape[1], b.node_name(name)
    weight, bias = b.weights.conv_bn(f"{name}.conv.conv", f"{name}.conv.bn", (channels, 1, 7, 7), BN_EPS, SILU_GAIN)
    if b.weights.has(f"{name}.conv1.conv.weight"):  # a checkpoint of a model fused for export lacks it
        small = b.weights.conv_bn(f"{name}.conv1.conv", f"{name}.conv1.bn", (channels, 1, 3, 3), BN_EPS, SILU_GAIN)
        weight, bias = weight + np.pad(small[0], ((0, 0), (0, 0), (2, 2), (2, 2))), bias + small[1]
    y = b.graph.conv(f"{node}/conv/conv", x, weight, bias, 1, 3, channels)
    return b.graph.silu(f"{node}/act", y)
