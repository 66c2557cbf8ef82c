"""Augmented pictures: boxes follow the pixels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch", reason="the detector is trained in PyTorch; pip install torch")

from tvm_zerocopy.models.training import augment


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    x=st.integers(20, 150),
    y=st.integers(20, 60),
    w=st.integers(12, 60),
    h=st.integers(12, 40),
)
def test_a_box_stays_around_its_white_rectangle(seed, x, y, w, h):
    picture = np.zeros((120, 240, 3), np.uint8)
    picture[y : y + h, x : x + w] = 255
    target = np.array([[0, x, y, x + w, y + h]], np.float32)
    recolor, augment._recolor = augment._recolor, lambda p, rng: p
    try:
        out, boxes = augment.augmented(picture, target, np.random.default_rng(seed), 96, 160)
    finally:
        augment._recolor = recolor
    assert out.shape == (96, 160, 3)
    white = (out[..., 0] > 127) & (out[..., 0] != augment.PAD)
    rows, columns = white.nonzero()
    if len(boxes) and len(rows):
        _, cx, cy, bw, bh = boxes[0] * [1, 160, 96, 160, 96]
        np.testing.assert_allclose([cx - bw / 2, cx + bw / 2], [columns.min(), columns.max() + 1], atol=1.6)
        np.testing.assert_allclose([cy - bh / 2, cy + bh / 2], [rows.min(), rows.max() + 1], atol=1.6)


def test_text_is_not_mirrored():
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, :32] = 200
    target = np.array([[augment._TEXT, 10, 10, 50, 50]], np.float32)
    for seed in range(20):
        out, _ = augment.augmented(picture, target, np.random.default_rng(seed), 64, 64)
        assert out[32, 8:28].mean() > out[32, 36:56].mean()
