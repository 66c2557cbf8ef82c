"""YOLOv5 in PyTorch, for training: the same network, names and numbering as ``tvm_zerocopy.models.yolov5`` builds."""

from typing import List

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from ..blocks import BN_EPS, make_divisible, scaled_depth
from ..yolov5 import STRIDES


class Conv(nn.Module):
    """Convolution, BatchNorm, SiLU."""

    def __init__(self, channels: int, out: int, kernel: int = 1, stride: int = 1, pad: int = None):
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2 if pad is None else pad, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=BN_EPS, momentum=0.03)

    def forward(self, x):
        return functional.silu(self.bn(self.conv(x)))


class Bottleneck(nn.Module):
    def __init__(self, channels: int, shortcut: bool):
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels), Conv(channels, channels, 3)
        self.shortcut = shortcut

    def forward(self, x):
        y = self.cv2(self.cv1(x))
        return x + y if self.shortcut else y


class C3(nn.Module):
    def __init__(self, channels: int, out: int, count: int, shortcut: bool = True):
        super().__init__()
        self.cv1, self.cv2, self.cv3 = Conv(channels, out // 2), Conv(channels, out // 2), Conv(out, out)
        self.m = nn.Sequential(*(Bottleneck(out // 2, shortcut) for _ in range(count)))

    def forward(self, x):
        return self.cv3(torch.cat([self.m(self.cv1(x)), self.cv2(x)], 1))


class SPPF(nn.Module):
    def __init__(self, channels: int, out: int):
        super().__init__()
        self.cv1, self.cv2 = Conv(channels, channels // 2), Conv(channels * 2, out)

    def forward(self, x):
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(functional.max_pool2d(parts[-1], 5, 1, 2))
        return self.cv2(torch.cat(parts, 1))


class Detect(nn.Module):
    """The last 1x1 convolutions; ``anchors`` (3, 3, 2) are in units of each level's stride."""

    def __init__(self, channels: List[int], classes: int, anchors: np.ndarray):
        super().__init__()
        self.row = 5 + classes
        cells = torch.tensor(anchors, dtype=torch.float32) / torch.tensor(STRIDES).view(3, 1, 1)
        self.register_buffer("anchors", cells)
        self.m = nn.ModuleList(nn.Conv2d(c, 3 * self.row, 1) for c in channels)

    def forward(self, levels):
        raw = [conv(x) for conv, x in zip(self.m, levels)]
        return [x.view(x.shape[0], 3, self.row, *x.shape[2:]).permute(0, 1, 3, 4, 2) for x in raw]


class YOLOv5(nn.Module):
    """Images (n, 3, h, w), RGB 0..1, to raw predictions of three levels (n, 3, h / stride, w / stride, 5 + classes).

    Parameters
    ----------
    classes : int
    anchors : float array (3, 3, 2)
        Width and height in pixels, by level.
    size : (height, width)
        Training pictures, for the objectness prior.
    """

    def __init__(self, classes: int, depth: float, width: float, anchors: np.ndarray, size):
        super().__init__()

        def ch(channels):
            return make_divisible(channels * width)

        def n(count):
            return scaled_depth(count, depth)

        c = {k: ch(k) for k in (64, 128, 256, 512, 1024)}
        self.model = nn.ModuleList(
            [
                Conv(3, c[64], 6, 2, 2),
                Conv(c[64], c[128], 3, 2),
                C3(c[128], c[128], n(3)),
                Conv(c[128], c[256], 3, 2),
                C3(c[256], c[256], n(6)),
                Conv(c[256], c[512], 3, 2),
                C3(c[512], c[512], n(9)),
                Conv(c[512], c[1024], 3, 2),
                C3(c[1024], c[1024], n(3)),
                SPPF(c[1024], c[1024]),
                Conv(c[1024], c[512]),
                nn.Upsample(scale_factor=2),
                nn.Identity(),  # concatenations keep the numbering
                C3(2 * c[512], c[512], n(3), False),
                Conv(c[512], c[256]),
                nn.Upsample(scale_factor=2),
                nn.Identity(),
                C3(2 * c[256], c[256], n(3), False),
                Conv(c[256], c[256], 3, 2),
                nn.Identity(),
                C3(2 * c[256], c[512], n(3), False),
                Conv(c[512], c[512], 3, 2),
                nn.Identity(),
                C3(2 * c[512], c[1024], n(3), False),
                Detect([c[256], c[512], c[1024]], classes, anchors),
            ]
        )
        # Priors as YOLOv5 sets them: eight objects a picture of 640, every class equally likely.
        for conv, stride in zip(self.model[24].m, STRIDES):
            bias = conv.bias.detach().view(3, -1)
            bias[:, 4] += float(np.log(8 * (stride**2) / (size[0] * size[1])))
            bias[:, 5:] += float(np.log(0.6 / (classes - 0.99999))) if classes > 1 else 0.0

    def forward(self, x):
        m = self.model
        x = m[2](m[1](m[0](x)))
        p3 = m[4](m[3](x))
        p4 = m[6](m[5](p3))
        top = m[10](m[9](m[8](m[7](p4))))
        middle = m[14](m[13](torch.cat([m[11](top), p4], 1)))
        small = m[17](torch.cat([m[15](middle), p3], 1))
        medium = m[20](torch.cat([m[18](small), middle], 1))
        large = m[23](torch.cat([m[21](medium), top], 1))
        return m[24]([small, medium, large])


def decode(raw: List[torch.Tensor], anchors: torch.Tensor) -> torch.Tensor:
    """Raw predictions to boxes (n, count, 5 + classes): cx, cy, w, h in pixels, objectness, classes."""
    outputs = []
    for x, cells, stride in zip(raw, anchors, STRIDES):
        n, a, h, w, row = x.shape
        y = x.sigmoid()
        columns, rows = torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy")
        xy = (y[..., :2] * 2 - 0.5 + torch.stack([columns, rows], -1)) * stride
        wh = (y[..., 2:4] * 2) ** 2 * (cells * stride).view(1, a, 1, 1, 2)
        outputs.append(torch.cat([xy, wh, y[..., 4:]], -1).reshape(n, -1, row))
    return torch.cat(outputs, 1)
