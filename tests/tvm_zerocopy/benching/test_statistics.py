import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.benching.statistics import PROCESS_NOISE, Summary, change, frames_alone

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


def processes(median, seed, count=5, spread=0.03):
    """Runs of one program in several processes, whose medians differ by themselves."""
    medians = median * (1 + spread * np.random.default_rng(seed).standard_normal(count))
    return [noisy(each, seed * 100 + number)[:20] for number, each in enumerate(medians)]


def test_a_change_beyond_noise_is_told_from_noise():
    assert change([noisy(0.010, 1)], [noisy(0.008, 2)]).verdict == "faster"
    assert change([noisy(0.008, 1)], [noisy(0.010, 2)]).verdict == "slower"
    assert change([noisy(0.010, 1)], [noisy(0.010, 2)]).verdict == "within noise"
    found = change([noisy(0.010, 1)], [noisy(0.005, 2)])
    assert found.low < found.ratio < found.high and found.ratio == pytest.approx(0.5, abs=0.02)


def test_one_process_tells_nothing_of_how_processes_differ():
    quiet = [[0.0100, 0.0101] * 50], [[0.0105, 0.0106] * 50]
    found = change(*quiet)
    assert found.low > 1.03 and found.floor == PROCESS_NOISE and found.verdict == "within noise"
    assert change(quiet[0], [[0.0115, 0.0116] * 50]).verdict == "slower"


def test_frames_in_one_disturbance_stay_together():
    """Disturbances that last a turn widen the interval; frames taken for independent would hide that."""
    rng = np.random.default_rng(0)
    turns = 0.010 * (1 + 0.1 * rng.standard_normal(20))
    together, apart = np.repeat(turns, 5), rng.permutation(np.repeat(turns, 5))
    blocks, single = frames_alone(together, together), frames_alone(apart, apart)
    assert blocks.high - blocks.low > 1.5 * (single.high - single.low)


def test_several_processes_measure_how_they_differ():
    same = [change(processes(0.010, seed), processes(0.010, seed + 50)).verdict for seed in range(40)]
    assert same.count("within noise") >= 38  # of 99% intervals
    assert change(processes(0.010, 1), processes(0.008, 2)).verdict == "faster"
    small = change(processes(0.010, 1, 10, 0.003), processes(0.0105, 2, 10, 0.003))
    assert small.verdict == "slower" and small.floor == 0  # what one process could not have told
    assert change(processes(0.010, 1), processes(0.008, 2), floor=0.3).verdict == "within noise"


def test_medians_without_any_spread_are_compared_as_they_are():
    assert change([[1.0]] * 3, [[1.0]] * 3).verdict == "within noise"
    assert change([[1.0]] * 3, [[2.0]] * 3).verdict == "slower"


def test_one_frame_tells_nothing():
    assert change([[1.0]], [[2.0, 2.1]]).verdict == "within noise"
