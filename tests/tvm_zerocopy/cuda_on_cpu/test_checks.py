"""What the checks of emulated kernels find: faults planted in the generated source, and each barrier taken out."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import emulator
import numpy as np
import planted
import pytest
from emulator import managed
from test_conv2d_tiles import SIZE, tower
from test_detection_head import HEADS, gpu_program, raw_output
from test_topk import topk_program

import tvm_zerocopy as tz


@pytest.mark.parametrize(
    "fault, message",
    [
        ("global read", r"out-of-bounds read by block 2, thread 0: byte 768 of a_ptr, which has 768"),
        ("global write", r"out-of-bounds write by block 2, thread 0: byte 768 of b_ptr, which has 768"),
        ("shared read", r"out-of-bounds read by block 0, thread 0: byte 256 of tile_ptr, which has 256"),
        ("shared write", r"out-of-bounds write by block 0, thread 63: byte 256 of tile_ptr, which has 256"),
        ("barrier", r"read of byte 252 of tile_ptr by block 0, thread 0, which no thread of its block has written"),
        ("divergence", "threads of a block wait at different barriers"),
    ],
)
def test_a_planted_fault_is_named(fake_cuda, tmp_path, fault, message):
    with pytest.raises(RuntimeError, match=f"main_kernel: {message}"):
        planted.run(tmp_path, fault, "threads")


@pytest.mark.parametrize("checks", ["", "threads"])
def test_what_is_right_passes(fake_cuda, tmp_path, checks):
    found, expected = planted.run(tmp_path, None, checks)
    np.testing.assert_array_equal(found, expected)


def test_address_sanitizer_reports_planted_accesses(tmp_path):
    captured = {"capture_output": True, "text": True}
    names = [f"-print-file-name={name}.so" for name in ("libasan", "libstdc++")]
    libraries = [subprocess.run(["g++", name], **captured).stdout.strip() for name in names]
    if not os.path.isabs(libraries[0]):
        pytest.skip("g++ has no AddressSanitizer: libasan is not installed")
    options = "detect_leaks=0:detect_stack_use_after_return=0:halt_on_error=0"
    environment = {**os.environ, "EMULATOR_CHECKS": "addresses", "ASAN_OPTIONS": options}
    environment["LD_PRELOAD"] = " ".join(libraries)
    script = Path(planted.__file__)
    command = [sys.executable, str(script), str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=script.parents[3], **captured)
    right, *reports = done.stderr.split("planted: ")[1:]
    assert right.startswith("None\n") and "AddressSanitizer:" not in right
    kinds = ["heap-buffer-overflow", "heap-buffer-overflow", "global-buffer-overflow", "global-buffer-overflow"]
    for report, fault, kind in zip(reports, list(planted.FAULTS)[:4], kinds):
        assert report.startswith(fault) and f"AddressSanitizer: {kind}" in report
        assert f"{fault.split()[1].upper()} of size 4" in report
    assert len(reports) == 4


# --- every barrier --------------------------------------------------------------------------------------------------


def topk(folder, compile_emulated):
    data = np.random.default_rng(0).standard_normal((2, 1025)).astype("float32")
    run = topk_program(folder, 2, 1025, 300, checks="threads")
    return lambda: run(data)


def head(name):
    def make(folder, compile_emulated):
        config, picture = HEADS[name], np.zeros([8, 8, 3], "uint8")
        run = gpu_program(config, folder, "threads")
        raw = raw_output(config, 0, "scattered", "all high", odd=False)
        return lambda: run(picture, raw)

    return make


def convolutions(precision):
    def make(folder, compile_emulated):
        options = {"postprocess": None, "preprocess": tz.Preprocess(), "precision": precision, "checks": "threads"}
        engine = compile_emulated(tower([(3, 1, 1)] * 2), **options)
        picture = managed(np.zeros((SIZE, SIZE, 3), np.uint8))
        return lambda: engine(picture)

    return make


PROGRAMS = {
    "topk": topk,
    "suppression of a part of the candidates": head("yolov8 agnostic"),
    "no suppression": head("end2end"),
    "float32": convolutions("float32"),
    "float16": convolutions("float16"),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_kernel_races_and_each_of_its_barriers_prevents_a_race(fake_cuda, compile_emulated, tmp_path, name):
    run = PROGRAMS[name](tmp_path, compile_emulated)
    run()
    folder = emulator.folders[-1]
    skipped = ctypes.c_int.in_dll(ctypes.CDLL(str(folder / "kernels.so")), "skipped_barrier")
    lines = (folder / "kernels.cc").read_text().split("\n")
    barriers = [number for number, line in enumerate(lines, 1) if "__syncthreads" in line]
    assert len(barriers) >= 3
    for skipped.value in barriers:
        with pytest.raises(RuntimeError, match="race|no thread of its block has written|out-of-bounds"):
            run()
    skipped.value = -1
    run()
