"""YOLOv8: C2f backbone and neck, anchor-free head with distribution focal boxes; raw output (n, 4 + classes, boxes)."""

from . import detect
from .blocks import Blocks, make_divisible, scaled_depth
from .graph import Tensor

SCALES = {  # (depth multiple, width multiple, most channels before scaling)
    "yolov8n": (0.33, 0.25, 1024),
    "yolov8s": (0.33, 0.50, 1024),
    "yolov8m": (0.67, 0.75, 768),
    "yolov8l": (1.00, 1.00, 512),
    "yolov8x": (1.00, 1.25, 512),
}


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
    name, levels = "model.22", [small, medium, large]
    width = detect.class_width(levels, classes)

    def class_layers(i, x):
        for j in range(2):
            x = b.conv(f"{name}.cv3.{i}.{j}", x, width, 3)
        return x

    box, scores = detect.predictions(b, name, levels, classes, class_layers)
    return detect.centred(b, name, box, scores)
