"""The loss: right predictions cost next to nothing, CIoU and matching as their papers have them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the detector is trained in PyTorch; pip install torch")

from tvm_zerocopy.models.training.loss import ciou, match, yolov5_loss  # noqa: E402
from tvm_zerocopy.models.training.network import YOLOv5  # noqa: E402
from tvm_zerocopy.models.yolov5 import ANCHORS  # noqa: E402


def test_ciou_by_hand():
    same = torch.tensor([[5.0, 5, 4, 2]])
    assert ciou(same, same).item() == pytest.approx(1, abs=1e-5)
    # side by side, touching: IoU 0, centres 4 apart, hull 8 x 2, same shape
    beside = torch.tensor([[9.0, 5, 4, 2]])
    assert ciou(same, beside).item() == pytest.approx(-16 / (64 + 4), abs=1e-5)
    assert ciou(same, torch.tensor([[5.0, 5, 2, 4]])).item() < 1 / 3  # same overlap formula, other shape: less


def test_a_target_is_matched_in_its_cell_and_two_neighbours():
    targets = torch.tensor([[0, 1, 3.3, 2.8, 2.0, 2.0]])
    anchors = torch.tensor([[2.0, 2.0], [40.0, 40.0]])
    picture, anchor, row, column, label, box, sizes = match(targets, anchors, 8, 8)
    assert anchor.tolist() == [0, 0, 0]  # the other anchor is twenty times too large
    assert sorted(zip(row.tolist(), column.tolist())) == [(2, 2), (2, 3), (3, 3)]
    assert label.tolist() == [1, 1, 1]
    # cell + relative centre is the target again
    np.testing.assert_allclose(torch.stack([column, row], 1) + box[:, :2], [[3.3, 2.8]] * 3, atol=1e-5)
    assert ((box[:, :2] >= -0.5) & (box[:, :2] <= 1.5)).all()  # what 2 * sigmoid - 0.5 can reach
    assert sizes.tolist() == [[2, 2]] * 3


def test_no_neighbours_outside_the_grid():
    targets = torch.tensor([[0, 0, 0.2, 7.9, 2.0, 2.0]])
    _, _, row, column, *_ = match(targets, torch.tensor([[2.0, 2.0]]), 8, 8)
    assert list(zip(row.tolist(), column.tolist())) == [(7, 0)]


def test_right_predictions_cost_next_to_nothing_and_wrong_ones_do():
    anchors = torch.tensor(ANCHORS) / torch.tensor([8.0, 16, 32]).view(3, 1, 1)
    targets = torch.tensor([[0, 1, 0.31, 0.47, 0.1, 0.12]])
    raw = []
    for cells, size in zip(anchors, (16, 8, 4)):
        x = torch.full((1, 3, size, size, 7), -12.0)
        scaled = targets * torch.tensor([1, 1, size, size, size, size])
        _, anchor, row, column, _, box, sizes = match(scaled, cells, size, size)
        x[0, anchor, row, column, :2] = torch.logit((box[:, :2] + 0.5) / 2, eps=1e-6)
        x[0, anchor, row, column, 2:4] = torch.logit((box[:, 2:] / sizes).sqrt() / 2, eps=1e-6)
        x[0, anchor, row, column, 4] = 12.0
        x[0, anchor, row, column, 6] = 12.0
        raw.append(x)
    good, _ = yolov5_loss(raw, targets, anchors)
    bad, _ = yolov5_loss([torch.zeros_like(x) for x in raw], targets, anchors)
    assert good < 0.01 < 0.5 < bad


def test_an_empty_picture_teaches_silence():
    network = YOLOv5(2, 0.33, 0.125, ANCHORS, (64, 64))
    raw = network(torch.rand(1, 3, 64, 64))
    loss, parts = yolov5_loss(raw, torch.zeros(0, 6), network.model[-1].anchors)
    assert parts[0] == parts[2] == 0
    loss.backward()
    assert network.model[0].conv.weight.grad.abs().sum() > 0


def test_a_few_steps_learn_one_picture():
    torch.manual_seed(0)
    network = YOLOv5(2, 0.33, 0.125, ANCHORS, (64, 64)).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    picture, targets = torch.rand(2, 3, 64, 64), torch.tensor([[0, 1, 0.5, 0.5, 0.4, 0.5], [1, 0, 0.3, 0.6, 0.3, 0.2]])
    losses = []
    for _ in range(25):
        loss, _ = yolov5_loss(network(picture), targets, network.model[-1].anchors)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
