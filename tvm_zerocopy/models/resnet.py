"""ResNet-18 (He et al., 2015) as torchvision defines and names it: class logits (n, classes)."""

import numpy as np

from .blocks import Blocks
from .graph import Tensor

BN_EPS = 1e-5  # PyTorch's default
RELU_GAIN = 1.71  # 1 / standard deviation of ReLU(x) for a unit normal x
RESIDUAL_GAIN = 0.5
STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))  # channels, stride of the first block


def resnet18(b: Blocks, x: Tensor, classes: int) -> Tensor:
    """The whole network from normalized RGB to logits."""
    g = b.graph

    def conv(name, bn, x, out, kernel, stride, gain=RELU_GAIN):
        weight, bias = b.weights.conv_bn(name, bn, (out, x.shape[1], kernel, kernel), BN_EPS, gain)
        return g.conv(b.node_name(name), x, weight, bias, stride, kernel // 2)

    def relu(name, x):
        return g.unary("Relu", b.node_name(name), x)

    x = relu("relu", conv("conv1", "bn1", x, 64, 7, 2))
    x = g.max_pool("/maxpool", x, 3, 2, 1)
    for stage, (channels, first_stride) in enumerate(STAGES, 1):
        for block in range(2):
            name = f"layer{stage}.{block}"
            stride = 1 if block else first_stride
            y = relu(f"{name}.relu", conv(f"{name}.conv1", f"{name}.bn1", x, channels, 3, stride))
            y = conv(f"{name}.conv2", f"{name}.bn2", y, channels, 3, 1, RESIDUAL_GAIN)
            if stride != 1:
                x = conv(f"{name}.downsample.0", f"{name}.downsample.1", x, channels, 1, stride, gain=1.0)
            x = relu(f"{name}.relu_1", b.add(name, y, x))
    x = g.flatten("/flatten", g.global_average_pool("/avgpool", x))
    weight, bias = b.weights.affine("fc", (classes, x.shape[1]), 1.0, np.zeros(classes))
    return g.gemm("/fc", x, weight, bias, param="fc")
