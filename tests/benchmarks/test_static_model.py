"""The comparison of predicted and measured times, without a GPU."""

import subprocess
import sys
from pathlib import Path

import pytest
import tvm

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import static_model  # noqa: E402

INFINITE = float("inf")


def test_rank_correlation_and_what_the_choice_costs():
    found = static_model.compare([1, 2, 3, 4, INFINITE], [10, 20, 30, 40, 1])
    assert found == {"candidates": 4, "correlation": pytest.approx(1), "predicted_best": 1.0}
    found = static_model.compare([1, 2, 3, 4], [40, 30, 20, 10])
    assert found["correlation"] == pytest.approx(-1) and found["predicted_best"] == 4.0
    assert static_model.compare([1, 1, 1, 1], [1, 2, 3, 4])["correlation"] is None
    assert static_model.compare([1, 2, 3], [1, 2, 3])["correlation"] is None


@pytest.mark.skipif(tvm.cuda(0).exist, reason="there is a GPU here")
def test_without_a_gpu_it_says_so(small_detector):
    command = [sys.executable, ROOT / "benchmarks" / "static_model.py", small_detector[0]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert 'error: target "cuda" means the GPU of this machine, and TVM sees none' in done.stderr
