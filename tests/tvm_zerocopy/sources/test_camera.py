"""Cameras: FFmpeg's real V4L2 input and everything behind it, on a device that a preloaded library plays."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

import tvm_zerocopy as tz

CONF = 1e-4  # random weights score low
WIDTH, HEIGHT = 64, 48
MEMORY = """
import json, sys
from tvm_zerocopy.sources import open_source
with open_source(sys.argv[1], camera=True) as source:
    for _, frame in zip(range(12), source):
        (plane,) = frame.planes
        spec = frame.spec
        found = [spec.format, spec.height, spec.width, spec.range, plane.ctypes.data, int(plane.sum())]
        print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("the camera's stand-in needs a C compiler and Linux' headers")
    if not {"v4l2", "video4linux2,v4l2"} & set(av.formats_available):
        pytest.skip("this build of PyAV has no V4L2 input")
    library = tmp_path_factory.mktemp("camera") / "camera.so"
    source = Path(__file__).with_name("camera.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", str(source), "-o", str(library), "-ldl"], check=True)
    return library


@pytest.fixture
def pictures():
    """Five YUYV pictures that differ."""
    return np.random.default_rng(0).integers(0, 256, (5, HEIGHT, WIDTH, 2), np.uint8)


@pytest.fixture
def camera(shim, pictures, tmp_path):
    """``camera(arguments, **settings)``: starts Python where ``camera.device`` is a camera that shows the pictures."""

    class Camera:
        device = tmp_path / "video0"
        log = tmp_path / "log"

        def __call__(self, arguments, **settings):
            values = {"DEVICE": self.device, "FRAMES": tmp_path / "frames", "LOG": self.log, "WIDTH": WIDTH}
            values.update(HEIGHT=HEIGHT, **settings)
            return subprocess.Popen(
                [sys.executable, *map(str, arguments)],
                env={**os.environ, "LD_PRELOAD": str(shim), **{f"CAMERA_{k}": str(v) for k, v in values.items()}},
                cwd=tmp_path,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

        def detect(self, model, *options, **settings):
            arguments = ["-m", "tvm_zerocopy.detect", "--model", model, "--conf", CONF, "--json", "-", "--no-draw"]
            return self([*arguments, "--camera", self.device, *options], **settings)

    (tmp_path / "frames").write_bytes(pictures.tobytes())
    Camera.device.touch()  # no path of the file system is asked of the stand-in
    return Camera()


def test_yuyv_frames_are_the_drivers_own_buffers(camera, pictures):
    process = camera(["-c", MEMORY, camera.device])
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    notes = [line.split() for line in camera.log.read_text().splitlines()]
    buffers = {int(value) for what, value in notes if what == "map"}
    frames = [json.loads(line) for line in out.splitlines()]
    assert len(frames) == 12
    for index, (*spec, address, total) in enumerate(frames):
        assert spec == ["yuyv", HEIGHT, WIDTH, "limited"]
        assert address in buffers, "FFmpeg or we copied the frame"
        assert total == pictures[index % 5].sum()
    assert notes[-1][0] == "close"


def test_boxes_are_those_of_the_pictures_that_the_camera_showed(camera, pictures, small_detector):
    onnx_file, _ = small_detector
    engine = tz.compile(onnx_file, frame=tz.Frame("yuyv", HEIGHT, WIDTH), postprocess=tz.Nms(conf=CONF))
    wanted = [engine(picture).copy() for picture in pictures]
    process = camera.detect(onnx_file, "--limit", 8, RATE=30)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    lines = [json.loads(line) for line in out.splitlines()]
    assert [line["frame"] for line in lines] == list(range(8))
    assert all(line["source"] == f"camera {camera.device}" for line in lines)
    for line in lines:
        boxes = np.array([found["box"] for found in line["detections"]])
        # which one depends on how fast this machine is: a camera's frames that nobody took in time are dropped
        same = [w for w in wanted if boxes.shape == w.boxes.shape and np.abs(boxes - w.boxes).max() < 0.1]
        assert len(same) == 1
        scores = [found["score"] for found in line["detections"]]
        np.testing.assert_allclose(scores, same[0].scores, atol=1e-3)


def test_a_camera_that_is_unplugged_ends_with_its_frames_kept_and_one_line(camera, small_detector):
    process = camera.detect(small_detector[0], RATE=30, UNPLUG=40)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert len(out.splitlines()) >= 1
    (line,) = [line for line in err.splitlines() if line.startswith("error:")]
    assert f"camera {camera.device} is broken (No such device); the 40 frames before were kept" in line


def test_interruption_stops_it_in_order(camera, small_detector):
    process = camera.detect(small_detector[0], RATE=30)
    for _ in range(3):
        json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "Traceback" not in err
    assert camera.log.read_text().splitlines()[-1].startswith("close")


def test_a_device_that_is_no_camera_any_more_is_one_line(camera, small_detector):
    process = camera.detect(small_detector[0], FRAMES="/nowhere")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert f"camera {camera.device} cannot be opened (No such device)" in err
