"""YOLO11: C3k2 backbone and neck, self-attention at the top, YOLOv8's head with a depthwise class branch; raw output
(n, 4 + classes, boxes)."""

from . import detect
from .blocks import Blocks, make_divisible, scaled_depth
from .graph import Tensor

SCALES = {  # (depth multiple, width multiple, most channels before scaling, C3 inside every C3k2)
    "yolo11n": (0.50, 0.25, 1024, False),
    "yolo11s": (0.50, 0.50, 1024, False),
    "yolo11m": (0.50, 1.00, 512, True),
    "yolo11l": (1.00, 1.00, 512, True),
    "yolo11x": (1.00, 1.50, 512, True),
}


def yolo11(
    b: Blocks, x: Tensor, classes: int, depth: float, width: float, max_channels: int = 1024, deep: bool = False
) -> Tensor:
    """The whole network from ``images`` to decoded boxes (cx, cy, w, h, classes...), input pixels."""

    def ch(channels):
        return make_divisible(min(channels, max_channels) * width)

    count = scaled_depth(2, depth)

    def c3k2(name, x, out, inner, part=0.5):
        """C2f whose blocks are bottlenecks of half their width, or (``inner``) C3 of two bottlenecks."""

        def block(m, y):
            if inner or deep:
                return b.c3(m, y, y.shape[1], 2, True, kernels=(3, 3))
            return b.bottleneck(m, y, True, (3, 3), between=y.shape[1] // 2)

        return b.split_chain(name, x, out, count, block, half=int(out * part))

    x = b.conv("model.0", x, ch(64), 3, 2)
    x = b.conv("model.1", x, ch(128), 3, 2)
    x = c3k2("model.2", x, ch(256), False, 0.25)
    x = b.conv("model.3", x, ch(256), 3, 2)
    p3 = c3k2("model.4", x, ch(512), False, 0.25)
    x = b.conv("model.5", p3, ch(512), 3, 2)
    p4 = c3k2("model.6", x, ch(512), True)
    x = b.conv("model.7", p4, ch(1024), 3, 2)
    x = c3k2("model.8", x, ch(1024), True)
    x = b.sppf("model.9", x, ch(1024))
    top = _c2psa(b, "model.10", x, count)

    x = b.concat("model.12", [b.upsample("model.11", top), p4])
    middle = c3k2("model.13", x, ch(512), False)
    x = b.concat("model.15", [b.upsample("model.14", middle), p3])
    small = c3k2("model.16", x, ch(256), False)
    x = b.concat("model.18", [b.conv("model.17", small, ch(256), 3, 2), middle])
    medium = c3k2("model.19", x, ch(512), False)
    x = b.concat("model.21", [b.conv("model.20", medium, ch(512), 3, 2), top])
    large = c3k2("model.22", x, ch(1024), True)

    name, levels = "model.23", [small, medium, large]
    layers = detect.separable_class_layers(b, f"{name}.cv3", detect.class_width(levels, classes))
    return detect.centred(b, name, *detect.predictions(b, name, levels, classes, layers))


def _c2psa(b: Blocks, name: str, x: Tensor, count: int) -> Tensor:
    """Half of the channels through attention blocks, half past them."""

    def attention(y):
        for i in range(count):
            y = b.attention_block(f"{name}.m.{i}", y)
        return y

    return b.half_through(name, x, attention)
