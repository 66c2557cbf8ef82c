"""A training of a few steps, interrupted and taken up again, ends in a model and its card."""

import json

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="the detector is trained in PyTorch; pip install torch")

from tvm_zerocopy.models.training import train  # noqa: E402
from tvm_zerocopy.models.training.pool import draw_one, draw_pool  # noqa: E402
from tvm_zerocopy.models.training.scene import CLASSES  # noqa: E402


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("training")


def arguments(folder, steps, *more):
    size = ["--size", "64", "96", "--first-size", "64", "64", "--width", "0.125", "--pool", "8", "--batch", "2"]
    return ["--folder", str(folder), "--output", str(folder / "out.onnx"), "--steps", str(steps), *size, *more]


def test_training_goes_on_where_it_was_and_writes_its_card(folder, monkeypatch):
    monkeypatch.setattr(train, "HELD_OUT_COUNT", 4)
    train.main(arguments(folder, 3))
    first = (folder / "out.onnx").read_bytes()
    train.main(arguments(folder, 5, "--resume"))
    second = (folder / "out.onnx").read_bytes()
    assert first != second
    session = onnxruntime.InferenceSession(second, providers=["CPUExecutionProvider"])
    output = session.run(None, {"images": np.zeros((1, 3, 64, 96), np.float32)})[0]
    assert output.shape == (1, 3 * (8 * 12 + 4 * 6 + 2 * 3), 5 + len(CLASSES))
    assert np.isfinite(output).all()
    card = json.loads((folder / "out.json").read_text())
    assert [(run["from step"], run["steps"]) for run in card["training"]["runs"]] == [(0, 3), (3, 5)]
    assert card["held out"]["pictures"] == 4
    assert 0 <= card["held out"]["mAP@0.5"] <= 1
    assert str(folder) not in json.dumps(card)

    train.main(arguments(folder, 5, "--resume"))  # nothing left to do: the same model, no further run
    assert (folder / "out.onnx").read_bytes() == second
    assert len(json.loads((folder / "out.json").read_text())["training"]["runs"]) == 2


def test_a_pool_is_drawn_once_and_by_seed(folder):
    pool = draw_pool(folder, "small", 5, 3, 36, 64, workers=1)
    picture, target = draw_one([5, 2], 36, 64)
    assert np.array_equal(pool.pictures[2], picture)
    assert np.array_equal(pool.targets[2], target)
    stamp = (folder / "small-5-3-64x36.npz").stat().st_mtime_ns
    again = draw_pool(folder, "small", 5, 3, 36, 64)
    assert (folder / "small-5-3-64x36.npz").stat().st_mtime_ns == stamp
    assert np.array_equal(again.pictures, pool.pictures)


def test_anchors_are_the_shapes_that_occur():
    rng = np.random.default_rng(0)
    shapes = np.array([(s * w, s) for s in (10.0, 40.0, 120.0) for w in (0.5, 1.0, 2.0)])
    sizes = np.repeat(shapes, 30, 0) * rng.normal(1, 0.01, (270, 2))
    target = np.column_stack([np.zeros(270), np.zeros((270, 2)), sizes])
    anchors = train.anchors_for([target], train.POOL_ROWS, train.POOL_COLUMNS, seed=0)
    assert anchors.shape == (3, 3, 2)
    areas = anchors.prod(2).reshape(-1)
    assert (np.diff(areas) >= 0).all()
    nearest = np.abs(np.log(anchors.reshape(-1, 1, 2) / shapes[None])).max(2).min(1)
    assert np.median(nearest) < 0.05


def test_learning_rate_warms_up_and_comes_down():
    args = train.arguments(["--steps", "1000", "--rate", "0.01"])
    rates = [train.learning_rate(step, args) for step in range(1000)]
    assert rates[0] < 0.001
    assert 100 < int(np.argmax(rates)) < 200
    assert rates[-1] < 0.0003
    assert all(a > b for a, b in zip(rates[200:], rates[201:]))
