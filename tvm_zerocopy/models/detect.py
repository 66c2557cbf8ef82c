"""The anchor-free head of YOLOv8, YOLOv10 and YOLO11: distributions of box sides, class scores, and their decode.

Each box side is a distribution over distances (Li et al., 2020, "Generalized Focal Loss").
"""

from typing import Callable, List, Tuple

import numpy as np

from .blocks import Blocks
from .graph import Tensor

STRIDES = (8, 16, 32)
BINS = 16  # each box side is a distribution over distances of 0 to 15 cells


def class_width(levels: List[Tensor], classes: int) -> int:
    """Channels between the layers of the class branch."""
    return max(levels[0].shape[1], min(classes, 100))


def separable_class_layers(b: Blocks, prefix: str, width: int) -> Callable:
    """The class branch of YOLOv10 and YOLO11: twice a depthwise 3x3 and a 1x1 convolution."""

    def layers(i, x):
        for j in range(2):
            x = b.conv(f"{prefix}.{i}.{j}.0", x, x.shape[1], 3, groups=x.shape[1])
            x = b.conv(f"{prefix}.{i}.{j}.1", x, width)
        return x

    return layers


def predictions(
    b: Blocks,
    name: str,
    levels: List[Tensor],
    classes: int,
    class_layers: Callable[[int, Tensor], Tensor],
    branches: Tuple[str, str] = ("cv2", "cv3"),
) -> Tuple[Tensor, Tensor]:
    """Sides' distributions (n, 64, boxes) and class logits (n, classes, boxes) of all levels in a row.

    ``class_layers(level, tensor)`` builds what stands before a level's last class convolution; ``branches`` are the
    names of the box and the class branch in the state dict.
    """
    g, node = b.graph, b.node_name(name)
    box_width = max(16, levels[0].shape[1] // 4, BINS * 4)
    batch, flat = levels[0].shape[0], []
    for i, x in enumerate(levels):
        box, cls = x, class_layers(i, x)
        for j in range(2):
            box = b.conv(f"{name}.{branches[0]}.{i}.{j}", box, box_width, 3)
        # Biases of random weights: wide boxes, few that pass a usual confidence threshold.
        box = b.plain_conv(f"{name}.{branches[0]}.{i}.2", box, 4 * BINS, np.ones(4 * BINS))
        cls = b.plain_conv(f"{name}.{branches[1]}.{i}.2", cls, classes, np.full(classes, -6.0))
        both = g.concat(f"{node}/{i}", [box, cls], axis=1)
        flat.append(g.reshape(f"{node}/{i}", both, (batch, 4 * BINS + classes, x.shape[2] * x.shape[3])))
    box, cls = g.split(node, g.concat(f"{node}/levels", flat, axis=2), [4 * BINS, classes], axis=1)
    return _corners(b, name, box, levels), g.unary("Sigmoid", node, cls)


def _corners(b: Blocks, name: str, box: Tensor, levels: List[Tensor]) -> Tuple[Tensor, Tensor, Tensor]:
    """Both corners in cells (n, 2, boxes), and each box's stride."""
    g, node = b.graph, b.node_name(name)
    batch, _, count = box.shape
    centres, strides = [], []
    for x, stride in zip(levels, STRIDES):
        h, w = x.shape[2:]
        centres.append(np.stack(np.meshgrid(np.arange(w), np.arange(h), indexing="xy"), 0).reshape(2, -1) + 0.5)
        strides.append(np.full(h * w, stride))

    # Expected distance of each side: softmax over the bins, then a 1x1 convolution with weights 0 to 15.
    dfl = f"{node}/dfl"
    box = g.reshape(f"{dfl}/bins", box, (batch, 4, BINS, count))
    box = g.softmax(dfl, g.transpose(dfl, box, (0, 2, 1, 3)), axis=1)
    bins = np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1)
    box = g.conv(f"{dfl}/conv", box, bins, param=f"{name}.dfl.conv")
    box = g.reshape(f"{dfl}/sides", box, (batch, 4, count))

    # left-top and right-bottom distances around the cell centre
    anchors = g.constant(f"{name}.anchors", np.concatenate(centres, 1)[None].astype(np.float32))
    left_top, right_bottom = g.split(dfl, box, [2, 2], axis=1)
    first = g.binary("Sub", f"{node}/left_top", anchors, left_top)
    second = g.binary("Add", f"{node}/right_bottom", anchors, right_bottom)
    return first, second, g.constant(f"{name}.strides", np.concatenate(strides)[None].astype(np.float32))


def centred(b: Blocks, name: str, corners: Tuple[Tensor, Tensor, Tensor], scores: Tensor) -> Tensor:
    """(n, 4 + classes, boxes): cx, cy, w, h in input pixels and the class scores; NMS is left to the reader."""
    g, node = b.graph, b.node_name(name)
    first, second, strides = corners
    both = g.binary("Add", f"{node}/both", first, second)
    centre = g.binary("Div", f"{node}/centre", both, g.constant(f"{name}.two", np.array(2, np.float32)))
    size = g.binary("Sub", f"{node}/size", second, first)
    box = g.binary("Mul", f"{node}/pixels", g.concat(f"{node}/box", [centre, size], axis=1), strides)
    return g.concat(node, [box, scores], axis=1)


def best(b: Blocks, name: str, corners: Tuple[Tensor, Tensor, Tensor], scores: Tensor, most: int) -> Tensor:
    """(n, most, 6): x1, y1, x2, y2 in input pixels, score and class, best first, chosen in the graph without NMS.

    First the boxes with the best of their scores, then the best (box, class) pairs of those.
    """
    g, node = b.graph, b.node_name(name)
    first, second, strides = corners
    batch, classes, count = scores.shape
    most = min(most, count)
    boxes = g.binary("Mul", f"{node}/pixels", g.concat(f"{node}/box", [first, second], axis=1), strides)
    boxes = g.transpose(f"{node}/boxes", boxes, (0, 2, 1))
    scores = g.transpose(f"{node}/scores", scores, (0, 2, 1))

    def pick(what, values, index):
        column = g.reshape(f"{node}/{what}/index", index, (batch, most, 1))
        wide = g.expand(f"{node}/{what}", column, (batch, most, values.shape[2]))
        return g.gather_elements(f"{node}/{what}", values, wide, axis=1)

    _, cell = g.top_k(f"{node}/cells", g.reduce_max(f"{node}/cells", scores, axis=2), most, axis=1)
    boxes, scores = pick("picked_boxes", boxes, cell), pick("picked_scores", scores, cell)
    pairs = g.reshape(f"{node}/pairs", scores, (batch, most * classes))
    top, pair = g.top_k(f"{node}/pairs", pairs, most, axis=1)
    number = g.constant(f"{name}.classes", np.array(classes, np.int64))
    label = g.to_float(f"{node}/label", g.binary("Mod", f"{node}/label", pair, number))
    boxes = pick("best_boxes", boxes, g.binary("Div", f"{node}/row", pair, number))
    columns = [g.reshape(f"{node}/column_{i}", value, (batch, most, 1)) for i, value in enumerate((top, label))]
    return g.concat(node, [boxes, *columns], axis=2)
