"""Artifacts for aarch64: cross-compiled and cross-linked here, then run, under qemu, with TVM's aarch64 runtime."""

import json
import os
import platform
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.embedded import model_path, sample_pictures
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.native import build_runner

COMPILER = "aarch64-linux-gnu-g++"
EMULATOR = shutil.which("qemu-aarch64-static") or shutil.which("qemu-aarch64")
SYSROOT = "/usr/aarch64-linux-gnu"
SITE = os.environ.get("TVM_ZEROCOPY_AARCH64_SITE")  # apache-tvm's and apache-tvm-ffi's aarch64 wheels, unpacked
XAVIER_CPU = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "carmel", "num-cores": 8}
JETPACK_5_GLIBC = (2, 31)  # Ubuntu 20.04

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="cross-compiles from x86-64")
needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"no {COMPILER}: apt install g++-aarch64-linux-gnu"
)


def needs_emulator(test):
    missing = [
        text
        for there, text in (
            (EMULATOR, "qemu-aarch64 (apt install qemu-user-static)"),
            (os.path.isdir(SYSROOT), "an aarch64 C library (apt install libc6-arm64-cross libstdc++6-arm64-cross)"),
            (SITE, "TVM_ZEROCOPY_AARCH64_SITE, the unpacked aarch64 wheels (.ci/aarch64 fetches them)"),
        )
        if not there
    ]
    return pytest.mark.skipif(bool(missing), reason="needs " + ", ".join(missing))(test)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A YOLOv8n of 96 pixels with random weights, compiled for aarch64 and for this machine."""
    model = models.build("yolov8n", size=96, classes=3)
    options = {"frame": tz.Frame("nv12", 64, 96), "postprocess": None}
    return tz.compile(model, target=XAVIER_CPU, **options), tz.compile(model, **options)


def test_it_is_not_called_where_it_cannot_run(small):
    with pytest.raises(UnsupportedError, match="compiled for aarch64 and this machine is x86_64; export it"):
        small[0](np.zeros((96, 96), "uint8"))


def test_without_a_cross_compiler(small, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(
        UnsupportedError, match=r"aarch64-linux-gnu-g\+\+, which is not installed; apt install g\+\+-aarch64"
    ):
        small[0].export(tmp_path / "small.so")


@needs_compiler
def test_it_asks_for_no_newer_glibc_than_jetpack_5_has(small, tmp_path):
    path = small[0].export(tmp_path / "small.so")
    listed = subprocess.run(
        ["aarch64-linux-gnu-objdump", "-T", path], capture_output=True, text=True, check=True
    ).stdout
    asked = {tuple(map(int, found.split("."))) for found in re.findall(r"GLIBC_([\d.]+)", listed)}
    assert asked and max(asked) <= JETPACK_5_GLIBC
    assert "GLIBCXX" not in listed


@needs_compiler
def test_it_says_what_its_cpu_must_have(small, tmp_path):
    assert b'"cpu_flags": ["asimdhp"]' in small[0].export(tmp_path / "small.so").read_bytes()


@pytest.fixture(scope="module")
def run_there(tmp_path_factory):
    """The runner, cross-compiled, as a function (artifact, frame, option...) -> what it printed."""
    folder = tmp_path_factory.mktemp("runner")
    runner = build_runner(folder / "run_artifact", site=SITE, compiler=COMPILER)

    def run(artifact, frame, *options, cpu="cortex-a76"):
        np.save(folder / "frame.npy", frame)
        # Carmel is ARMv8.2 with half precision and no SVE; the closest of qemu's models is Cortex-A76.
        emulator = [EMULATOR, "-L", SYSROOT, "-cpu", cpu]
        command = [*emulator, runner, artifact, folder / "frame.npy", "--threads", "2", *options]
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


@needs_compiler
@needs_emulator
def test_the_same_boxes_as_here(run_there, tmp_path):
    """The embedded detector on a picture: NEON schedules against this machine's."""
    frame = np.ascontiguousarray(np.asarray(Image.open(sample_pictures()[0]).convert("RGB"))[:, :, ::-1])
    artifact = tz.compile(model_path(), target=XAVIER_CPU).export(tmp_path / "scenes.so")
    (found,) = run_there(artifact, frame)
    expected = tz.compile(model_path())(frame)
    assert len(expected) >= 5
    assert [d["class"] for d in found["detections"]] == list(expected.classes)
    np.testing.assert_allclose([d["box"] for d in found["detections"]], expected.boxes, rtol=0, atol=0.1)
    np.testing.assert_allclose([d["score"] for d in found["detections"]], expected.scores, rtol=0, atol=1e-3)


@needs_compiler
@needs_emulator
def test_bfloat16_s_boxes_are_those_of_float32(run_there, tmp_path):
    """On a CPU with Arm's bf16, which Xavier is not."""
    frame = np.ascontiguousarray(np.asarray(Image.open(sample_pictures()[0]).convert("RGB"))[:, :, ::-1])
    target = {**XAVIER_CPU, "mattr": ["+bf16"]}
    artifact = tz.compile(model_path(), target=target, precision="bfloat16").export(tmp_path / "scenes.so")
    (found,) = run_there(artifact, frame, cpu="max")
    expected = tz.compile(model_path())(frame)
    certain = expected.scores > 0.5
    boxes = np.array([d["box"] for d in found["detections"]])
    assert certain.sum() >= 5
    for box, label in zip(expected.boxes[certain], expected.classes[certain]):
        near = np.abs(boxes - box).max(axis=1) < 0.03 * (box[2:] - box[:2]).max() + 1
        assert label in [found["detections"][k]["class"] for k in np.flatnonzero(near)]


@needs_compiler
@needs_emulator
def test_the_same_raw_outputs_as_here(small, run_there, tmp_path):
    there, here = small
    frame = np.random.default_rng(2).integers(0, 255, (96, 96), dtype=np.uint8)
    assert run_there(there.export(tmp_path / "small.so"), frame, "--save", tmp_path) == []
    outputs = here(frame)
    assert len(outputs) > 0
    for number, output in enumerate(outputs):
        found = np.load(tmp_path / f"output{number}.npy")
        np.testing.assert_allclose(found, output, rtol=0, atol=1e-4 * np.abs(output).max())
