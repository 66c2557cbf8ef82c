"""Building blocks that the YOLO families share, each named and wired as in their published definitions."""

from typing import Callable, Optional, Sequence

import numpy as np

from .graph import GraphBuilder, Tensor
from .weights import Weights

BN_EPS = 1e-3  # Ultralytics and YOLOX set it on every BatchNorm2d; PyTorch's default is 1e-5

# Random weights only: 1 / standard deviation of SiLU(x) for a unit normal x (Brock et al., 2021). Residual branches get
# less, or the sum would double at each of them.
SILU_GAIN = 1.79
RESIDUAL_GAIN = 0.8


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round a scaled channel count up to a multiple, as Ultralytics scales its models."""
    return int(np.ceil(value / divisor) * divisor)


def scaled_depth(count: int, depth: float) -> int:
    """How many blocks a stage of ``count`` has at this depth multiple."""
    return max(round(count * depth), 1) if count > 1 else count


class Blocks:
    """Layers of one network under construction; the first argument of each is the layer's name in the state dict."""

    def __init__(self, graph: GraphBuilder, weights: Weights):
        self.graph, self.weights = graph, weights

    @staticmethod
    def node_name(name: str) -> str:
        return "/" + name.replace(".", "/")

    def conv(self, name, x: Tensor, out: int, kernel=1, stride=1, pad=None, groups=1, gain=None, act=True) -> Tensor:
        """Convolution + BatchNorm (folded) + SiLU where ``act``; ``name`` holds ``conv`` and ``bn``."""
        gain = (SILU_GAIN if act else 1.0) if gain is None else gain
        shape = (out, x.shape[1] // groups, kernel, kernel)
        weight, bias = self.weights.conv_bn(f"{name}.conv", f"{name}.bn", shape, BN_EPS, gain)
        node = self.node_name(name)
        pad = kernel // 2 if pad is None else pad
        y = self.graph.conv(f"{node}/conv", x, weight, bias, stride, pad, groups)
        return self.graph.silu(f"{node}/act", y) if act else y

    def plain_conv(self, name, x: Tensor, out: int, bias: np.ndarray, gain=8.0) -> Tensor:
        """1x1 convolution with bias and nothing else: what predictions are made with."""
        weight, bias = self.weights.affine(name, (out, x.shape[1], 1, 1), gain, bias)
        return self.graph.conv(self.node_name(name), x, weight, bias)

    def add(self, name, a: Tensor, b: Tensor) -> Tensor:
        return self.graph.binary("Add", self.node_name(name), a, b)

    def concat(self, name, tensors: Sequence[Tensor]) -> Tensor:
        return self.graph.concat(self.node_name(name), tensors, axis=1)

    def upsample(self, name, x: Tensor) -> Tensor:
        return self.graph.upsample(self.node_name(name), x)

    def bottleneck(self, name, x: Tensor, shortcut: bool, kernels=(1, 3), between=None) -> Tensor:
        """Two convolutions, to ``between`` channels (None: x's own) and back to x's, added to x where ``shortcut``."""
        channels = x.shape[1]
        y = self.conv(f"{name}.cv1", x, between or channels, kernels[0])
        y = self.conv(f"{name}.cv2", y, channels, kernels[1], gain=RESIDUAL_GAIN if shortcut else SILU_GAIN)
        return self.add(name, x, y) if shortcut else y

    def c3(self, name, x: Tensor, out: int, count: int, shortcut: bool, kernels=(1, 3)) -> Tensor:
        """YOLOv5's C3: half the channels through bottlenecks, half past them."""
        y = self.conv(f"{name}.cv1", x, out // 2)
        for i in range(count):
            y = self.bottleneck(f"{name}.m.{i}", y, shortcut, kernels)
        past = self.conv(f"{name}.cv2", x, out // 2)
        return self.conv(f"{name}.cv3", self.concat(name, [y, past]), out)

    def c2f(self, name, x: Tensor, out: int, count: int, shortcut: bool) -> Tensor:
        """YOLOv8's C2f: every bottleneck's output reaches the last convolution."""
        return self.split_chain(name, x, out, count, lambda m, y: self.bottleneck(m, y, shortcut, kernels=(3, 3)))

    def split_chain(self, name, x: Tensor, out: int, count: int, block: Callable, half: Optional[int] = None) -> Tensor:
        """Half of the channels past, half through ``count`` blocks in a row, all of whose outputs reach the last
        convolution; ``block(name, tensor)``; ``half``: None for ``out // 2``."""
        half = out // 2 if half is None else half
        y = self.conv(f"{name}.cv1", x, 2 * half)
        parts = self.graph.split(self.node_name(name), y, [half, half], axis=1)
        for i in range(count):
            parts.append(block(f"{name}.m.{i}", parts[-1]))
        return self.conv(f"{name}.cv2", self.concat(name, parts), out)

    def half_through(self, name, x: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        """Half of the channels through ``function``, half past it, between two 1x1 convolutions."""
        half = x.shape[1] // 2
        y = self.conv(f"{name}.cv1", x, 2 * half)
        past, y = self.graph.split(self.node_name(name), y, [half, half], axis=1)
        return self.conv(f"{name}.cv2", self.concat(name, [past, function(y)]), x.shape[1])

    def attention_block(self, name, x: Tensor) -> Tensor:
        """Self-attention among all pixels, then two 1x1 convolutions; each is added to what it reads.

        YOLOv10 and YOLO11 take one head for each 64 channels.
        """
        y = self.add(name, x, self.attention(f"{name}.attn", x, max(x.shape[1] // 64, 1)))
        z = self.conv(f"{name}.ffn.0", y, 2 * x.shape[1])
        z = self.conv(f"{name}.ffn.1", z, x.shape[1], gain=RESIDUAL_GAIN, act=False)
        return self.add(f"{name}.ffn", y, z)

    def attention(self, name, x: Tensor, heads: int) -> Tensor:
        """softmax(q^T k / sqrt(key)) over pixels, applied to v; plus a depthwise convolution of v for the position.

        Queries and keys have half as many channels as values.
        """
        g, node = self.graph, self.node_name(name)
        batch, channels, height, width = x.shape
        value, key = channels // heads, channels // heads // 2
        qkv = self.conv(f"{name}.qkv", x, channels + 2 * heads * key, act=False)
        qkv = g.reshape(f"{node}/heads", qkv, (batch, heads, 2 * key + value, height * width))
        q, k, v = g.split(f"{node}/qkv", qkv, [key, key, value], axis=2)
        scores = g.matmul(f"{node}/scores", g.transpose(f"{node}/q", q, (0, 1, 3, 2)), k)
        scores = g.binary("Mul", f"{node}/scale", scores, g.constant(f"{name}.scale", np.array(key**-0.5, np.float32)))
        weights = g.softmax(f"{node}/weights", scores, axis=3)
        seen = g.matmul(f"{node}/seen", v, g.transpose(f"{node}/to", weights, (0, 1, 3, 2)))
        seen = g.reshape(f"{node}/seen", seen, x.shape)
        place = self.conv(f"{name}.pe", g.reshape(f"{node}/v", v, x.shape), channels, 3, groups=channels, act=False)
        return self.conv(f"{name}.proj", self.add(name, seen, place), channels, gain=RESIDUAL_GAIN, act=False)

    def sppf(self, name, x: Tensor, out: int, kernel=5) -> Tensor:
        """Spatial pyramid pooling, fast: three max-pools in a row see as far as 5, 9 and 13 side by side."""
        parts = [self.conv(f"{name}.cv1", x, x.shape[1] // 2)]
        for i in range(3):
            node = f"{self.node_name(name)}/m{f'_{i}' if i else ''}"
            parts.append(self.graph.max_pool(node, parts[-1], kernel, 1, kernel // 2))
        return self.conv(f"{name}.cv2", self.concat(name, parts), out)
