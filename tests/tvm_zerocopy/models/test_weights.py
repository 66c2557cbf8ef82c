"""Loading a checkpoint's state dict: BatchNorm folded exactly, misfits named."""

import numpy as np
import pytest

from tvm_zerocopy.errors import ModelError
from tvm_zerocopy.models.weights import Weights

SHAPE = (4, 3, 3, 3)


def state(rng):
    return {
        "c.weight": rng.normal(size=SHAPE).astype(np.float32),
        "b.weight": rng.normal(size=4).astype(np.float16),
        "b.bias": rng.normal(size=4).astype(np.float32),
        "b.running_mean": rng.normal(size=4).astype(np.float32),
        "b.running_var": rng.uniform(0.1, 2, 4).astype(np.float32),
        "b.num_batches_tracked": np.array(7),
    }


def test_folded_batchnorm_equals_batchnorm_after_the_convolution():
    rng = np.random.default_rng(0)
    s, x = state(rng), rng.normal(size=(27,))
    weight, bias = Weights(s).conv_bn("c", "b", SHAPE, 1e-3, 1.0)
    y = s["c.weight"].reshape(4, 27) @ x
    wanted = (y - s["b.running_mean"]) / np.sqrt(s["b.running_var"] + 1e-3) * s["b.weight"] + s["b.bias"]
    np.testing.assert_allclose(weight.reshape(4, 27) @ x + bias, wanted, rtol=1e-5, atol=1e-5)


def test_weights_fused_already_are_taken_as_they_are():
    fused = {"c.weight": np.ones(SHAPE, np.float16), "c.bias": np.arange(4, dtype=np.float32)}
    weight, bias = Weights(fused).conv_bn("c", "b", SHAPE, 1e-3, 1.0)
    assert weight.dtype == np.float32
    assert (weight == 1).all()
    assert (bias == np.arange(4)).all()


def test_misfits_are_named():
    s = state(np.random.default_rng(0))
    with pytest.raises(ModelError, match=r"'c.weight' has shape \(4, 3, 3, 3\), the network needs \(8, 3, 3, 3\)"):
        Weights(s).conv_bn("c", "b", (8, 3, 3, 3), 1e-3, 1.0)
    with pytest.raises(ModelError, match="no entry 'd.weight'"):
        Weights(s).conv_bn("d", "b", SHAPE, 1e-3, 1.0)
    with pytest.raises(ModelError, match="dtype int64"):
        Weights({**s, "c.weight": np.ones(SHAPE, np.int64)}).conv_bn("c", "b", SHAPE, 1e-3, 1.0)
    source = Weights({**s, "left.over": np.zeros(1)})
    source.conv_bn("c", "b", SHAPE, 1e-3, 1.0)
    with pytest.raises(ModelError, match="1 entries that yolov5n has no place for, the first is 'left.over'"):
        source.check_all_used("yolov5n")
