import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.benching.statistics import Summary, change

pytest.importorskip("scipy", reason="SciPy is not installed: pip install 'tvm-zerocopy[bench]'")


@given(st.lists(st.floats(1e-6, 100), min_size=2, max_size=50))
def test_a_summary_is_what_the_standard_library_says(seconds):
    found = Summary.of(seconds)
    assert found.count == len(seconds)
    assert (found.min, found.max) == (min(seconds), max(seconds))
    assert found.median == pytest.approx(statistics.median(seconds))
    assert found.mean == pytest.approx(statistics.fmean(seconds))
    assert found.std == pytest.approx(statistics.stdev(seconds), abs=1e-9)
    assert found.fps == pytest.approx(1 / found.median)
    assert found.median <= found.p99 <= found.max * (1 + 1e-12)


def test_nothing_has_no_summary():
    with pytest.raises(ValueError):
        Summary.of([])


def noisy(median, seed):
    return median * (1 + 0.05 * np.random.default_rng(seed).standard_normal(100))


def test_a_change_beyond_noise_is_told_from_noise():
    assert change(noisy(0.010, 1), noisy(0.008, 2)).verdict == "faster"
    assert change(noisy(0.008, 1), noisy(0.010, 2)).verdict == "slower"
    assert change(noisy(0.010, 1), noisy(0.010, 2)).verdict == "within noise"
    found = change(noisy(0.010, 1), noisy(0.005, 2))
    assert found.low < found.ratio < found.high and found.ratio == pytest.approx(0.5, abs=0.02)


def test_one_frame_tells_nothing():
    assert change([1.0], [2.0, 2.1]).verdict == "within noise"
