import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
import soak  # noqa: E402

import tvm_zerocopy as tz  # noqa: E402


@pytest.mark.parametrize("policy", ["block", "drop_oldest"])
def test_no_frame_is_torn_and_no_result_is_wrong(small_detector, policy):
    run = soak.Soak(tz.load(small_detector[1]), 3, policy)
    figures = run.run(200, lambda done: None)
    assert figures["torn_frames"] == figures["wrong_results"] == 0
    assert figures["frames"] == figures["ring"]["delivered"] == 200
    assert figures["boxes"] > 200  # results that could be wrong
    assert policy == "drop_oldest" or figures["ring"]["dropped"] == 0


def test_a_torn_frame_and_a_wrong_result_are_seen(small_detector):
    run = soak.Soak(tz.load(small_detector[1]), 3, "block")
    run.expected_crc[0] ^= 1
    run.expected[1][0] = b"other boxes"
    figures = run.run(2 * soak.PICTURES, lambda done: None)
    assert (figures["torn_frames"], figures["wrong_results"]) == (2, 2)


def test_pictures_differ(small_detector):
    run = soak.Soak(tz.load(small_detector[1]), 2, "block")
    assert len(set(run.expected_crc)) == soak.PICTURES
    assert all(np.asarray(picture[0]).shape == (48, 80, 3) for picture in run.pictures)


def test_the_script_writes_its_figures(small_detector, tmp_path):
    command = [sys.executable, str(ROOT / "benchmarks/soak.py"), small_detector[1], "--frames", "60"]
    subprocess.run([*command, "--json", str(tmp_path / "soak.json")], check=True, capture_output=True)
    figures = json.loads((tmp_path / "soak.json").read_text())
    assert figures["frames"] == 60 and figures["growth_bytes"] < 1 << 20
