"""The C++ runner on this machine: the same boxes as the engine, and one clear line for what it cannot run."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import tvm_zerocopy as tz
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.native import build_runner

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the runner is compiled with g++")

FRAME = np.random.default_rng(5).integers(0, 255, (48, 80, 3), dtype=np.uint8)  # the small detector's size


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    return build_runner(tmp_path_factory.mktemp("runner") / "run_artifact")


@pytest.fixture
def run(runner, tmp_path, small_detector):
    np.save(tmp_path / "frame.npy", FRAME)

    def call(artifact=small_detector[1], *arguments, frame=tmp_path / "frame.npy"):
        command = [runner, str(artifact), str(frame), "--threads", "2", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return call


def refused(done, message):
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert message in done.stderr


def test_it_finds_what_the_engine_finds(run, small_detector):
    done = run()
    assert done.returncode == 0, done.stderr
    found, expected = json.loads(done.stdout), tz.load(small_detector[1])(FRAME)
    assert found["frame"] == 0
    assert len(expected) > 0
    np.testing.assert_array_equal(np.float32([d["box"] for d in found["detections"]]), expected.boxes)
    np.testing.assert_array_equal(np.float32([d["score"] for d in found["detections"]]), expected.scores)
    assert [d["class"] for d in found["detections"]] == list(expected.classes)


def test_raw_frames_and_timing(run, tmp_path):
    FRAME.tofile(tmp_path / "frame.bgr")
    done = run()
    raw = run(frame=f"48x80x3:{tmp_path / 'frame.bgr'}")
    assert raw.stdout == done.stdout
    timed = subprocess.run([*done.args, "--repeat", "3"], capture_output=True, text=True, timeout=120, check=True)
    assert timed.stdout == done.stdout
    assert timed.stderr.startswith("3 frames: median ")


def test_frames_that_do_not_fit(run, tmp_path):
    np.save(tmp_path / "small.npy", FRAME[:40])
    refused(run(frame=tmp_path / "small.npy"), "must be uint8 (48, 80, 3)")
    np.save(tmp_path / "float.npy", FRAME.astype("float32"))
    refused(run(frame=tmp_path / "float.npy"), "is float32 (48, 80, 3)")
    np.save(tmp_path / "fortran.npy", np.asfortranarray(FRAME))
    refused(run(frame=tmp_path / "fortran.npy"), "Fortran order")
    (tmp_path / "frame.bgr").write_bytes(FRAME.tobytes()[:-1])
    refused(run(frame=f"48x80x3:{tmp_path / 'frame.bgr'}"), "its shape needs 11520")
    refused(run(frame=tmp_path / "none.npy"), "cannot be read")
    (tmp_path / "text.npy").write_text("not an array, and longer than a header")
    refused(run(frame=tmp_path / "text.npy"), "is not a .npy file")


def test_artifacts_that_are_damaged_or_foreign(run, small_detector, tmp_path):
    content = bytearray(Path(small_detector[1]).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "damaged.so").write_bytes(content)
    refused(run(tmp_path / "damaged.so"), "SHA-256 does not match")
    (tmp_path / "short.so").write_bytes(content[:-100])
    refused(run(tmp_path / "short.so"), "cut off")
    (tmp_path / "tiny.so").write_bytes(b"\x7fELF")
    refused(run(tmp_path / "tiny.so"), "cut off")
    refused(run(tmp_path / "none.so"), "cannot be read")


def test_what_it_is_built_with_is_missing(tmp_path):
    with pytest.raises(UnsupportedError, match=r"apt install g\+\+-riscv32-linux-gnu$"):
        build_runner(tmp_path / "run_artifact", compiler="riscv32-linux-gnu-g++")
    with pytest.raises(UnsupportedError, match="unpack the apache-tvm"):
        build_runner(tmp_path / "run_artifact", site=tmp_path)
