"""What an engine's kernels take, one by one; TVM itself tells it of Relay programs."""

import numpy as np
from relax_road import small_engine


def test_kernels_are_timed_one_by_one():
    engine, frames = small_engine(), np.zeros((2, 4, 6, 3), np.uint8)
    assert [name for name, _ in engine.time_kernels(frames)] == ["detect"]
    assert all(seconds >= 0 for _, seconds in engine.time_kernels(frames))
