"""YOLOv5's loss: CIoU for boxes, binary cross-entropy for objectness and classes, anchors matched by shape."""

from typing import List

import torch
from torch.nn import functional

SHAPE_RATIO = 4.0  # an anchor is responsible for boxes up to so many times wider or higher, or narrower or lower
LEVEL_WEIGHTS = (4.0, 1.0, 0.4)  # objectness of strides 8, 16, 32


def ciou(a: torch.Tensor, b: torch.Tensor, eps: float = 1e-7) -> torch.Tensor:
    """Complete IoU (Zheng et al., 2020) of boxes (n, 4) cx, cy, w, h."""
    a1, a2 = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    b1, b2 = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    inter = (torch.minimum(a2, b2) - torch.maximum(a1, b1)).clamp(0).prod(1)
    iou = inter / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - inter + eps)
    hull = torch.maximum(a2, b2) - torch.minimum(a1, b1)
    centres = (a[:, :2] - b[:, :2]).square().sum(1) / (hull.square().sum(1) + eps)
    angle = torch.atan(b[:, 2] / (b[:, 3] + eps)) - torch.atan(a[:, 2] / (a[:, 3] + eps))
    aspect = 4 / torch.pi**2 * angle.square()
    with torch.no_grad():
        weight = aspect / (aspect - iou + 1 + eps)
    return iou - centres - weight * aspect


def match(targets: torch.Tensor, anchors: torch.Tensor, height: int, width: int):
    """Which anchors of which cells answer for each target, on one level.

    ``targets`` (k, 6): picture, class, cx, cy, w, h in cells. A target goes to every anchor of similar shape, in its
    own cell and in the two neighbouring cells that its centre is nearest to.

    Returns pictures, anchors, rows, columns and classes (m,), boxes relative to their cell (m, 4), anchor sizes (m, 2).
    """
    count = len(anchors)
    t = targets.unsqueeze(0).expand(count, -1, -1)
    anchor = torch.arange(count).view(-1, 1).expand(count, len(targets))
    ratio = t[..., 4:6] / anchors[:, None]
    fits = torch.maximum(ratio, 1 / ratio).amax(-1) < SHAPE_RATIO
    t, anchor = t[fits], anchor[fits]
    within = t[:, 2:4] % 1
    limit = torch.tensor([width, height], dtype=t.dtype)
    low = (within < 0.5) & (t[:, 2:4] > 1)
    high = (within > 0.5) & (t[:, 2:4] < limit - 1)
    all_cells = [(torch.ones(len(t), dtype=torch.bool), (0, 0))]
    all_cells += [(low[:, 0], (-1, 0)), (low[:, 1], (0, -1)), (high[:, 0], (1, 0)), (high[:, 1], (0, 1))]
    rows, anchor_rows, cells = [], [], []
    for mask, shift in all_cells:
        rows.append(t[mask])
        anchor_rows.append(anchor[mask])
        cells.append(t[mask][:, 2:4].floor() + torch.tensor(shift, dtype=t.dtype))
    t, anchor, cell = torch.cat(rows), torch.cat(anchor_rows), torch.cat(cells)
    cell = torch.minimum(cell.clamp(min=0), limit - 1)
    box = torch.cat([t[:, 2:4] - cell, t[:, 4:6]], 1)
    return t[:, 0].long(), anchor, cell[:, 1].long(), cell[:, 0].long(), t[:, 1].long(), box, anchors[anchor]


def yolov5_loss(raw: List[torch.Tensor], targets: torch.Tensor, anchors: torch.Tensor, gains=(0.05, 0.7, 0.15)):
    """Total loss and its parts (box, objectness, class).

    ``targets`` (k, 6): picture, class, cx, cy, w, h as fractions of the picture. ``gains``: of the three parts.
    """
    box_loss = obj_loss = cls_loss = torch.zeros(())
    for x, cells, weight in zip(raw, anchors, LEVEL_WEIGHTS):
        x = x.float()
        height, width = x.shape[2:4]
        scale = torch.tensor([1, 1, width, height, width, height], dtype=torch.float32)
        picture, anchor, row, column, label, box, sizes = match(targets * scale, cells, height, width)
        objectness = torch.zeros(x.shape[:4])
        if len(label):
            p = x[picture, anchor, row, column]
            y = p[:, :4].sigmoid()
            predicted = torch.cat([y[:, :2] * 2 - 0.5, (y[:, 2:] * 2) ** 2 * sizes], 1)
            overlap = ciou(predicted, box)
            box_loss = box_loss + (1 - overlap).mean()
            best_last = overlap.detach().clamp(0).argsort()  # where two targets meet, the better overlap stays
            at = (picture[best_last], anchor[best_last], row[best_last], column[best_last])
            objectness[at] = overlap.detach().clamp(0)[best_last]
            wanted = functional.one_hot(label, p.shape[1] - 5).float()
            cls_loss = cls_loss + functional.binary_cross_entropy_with_logits(p[:, 5:], wanted)
        obj_loss = obj_loss + weight * functional.binary_cross_entropy_with_logits(x[..., 4], objectness)
    parts = torch.stack([box_loss, obj_loss, cls_loss]) * torch.tensor(gains)
    return parts.sum() * raw[0].shape[0], parts.detach()
