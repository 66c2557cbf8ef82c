"""The ONNX builder against the same networks written in PyTorch, with the same state dict."""

import numpy as np
import onnxruntime
import pytest

from tvm_zerocopy import models
from tvm_zerocopy.models.yolov5 import ANCHORS

torch = pytest.importorskip("torch", reason="compares with the network in PyTorch; pip install torch")


def shaken(network):
    """A network whose BatchNorm statistics are those of no fresh one."""
    generator = torch.Generator().manual_seed(1)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.uniform_(-0.2, 0.2, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
            module.weight.data.uniform_(0.8, 1.6, generator=generator)
            module.bias.data.uniform_(-0.2, 0.2, generator=generator)
    return network.eval()


@pytest.mark.parametrize("opset", [11, 13])
@pytest.mark.parametrize(("depth", "width"), [(0.33, 0.25), (0.67, 0.125)])
def test_yolov5(opset, depth, width):
    from tvm_zerocopy.models.training.network import YOLOv5, decode

    torch.manual_seed(0)
    network = shaken(YOLOv5(3, depth, width, ANCHORS * 0.7, (96, 160)))
    state = {k: v.numpy() for k, v in network.state_dict().items()}
    model = models.build("yolov5n", state, (96, 160), ["a", "b", "c"], opset, depth=depth, width=width)
    picture = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        wanted = decode(network(picture), network.model[-1].anchors).numpy()
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, {"images": picture.numpy()})[0]
    assert got.shape == wanted.shape == (1, 3 * (12 * 20 + 6 * 10 + 3 * 5), 8)
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
