"""Cameras: FFmpeg's real V4L2 input and everything behind it, on a device that a preloaded library plays."""

import io
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
from PIL import Image

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
PIXELS = """
import sys
import numpy as np
from tvm_zerocopy.sources import open_source
from tvm_zerocopy.sources.convert import to_rgb
frames = []
with open_source(sys.argv[1]) as source:
    for _, frame in zip(range(7), source):
        print(frame.spec.format, frame.spec.range, *(plane.ctypes.data for plane in frame.planes))
        planes = np.concatenate([np.ascontiguousarray(plane).ravel() for plane in frame.planes])
        frames.append((planes, to_rgb(frame)))
np.savez("seen.npz", planes=[planes for planes, _ in frames], rgb=[rgb for _, rgb in frames])
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
        device = "/dev/video0"  # whether this machine has one or not
        log = tmp_path / "log"
        frames = tmp_path / "frames"

        def __call__(self, arguments, **settings):
            values = {"DEVICE": self.device, "FRAMES": self.frames, "LOG": self.log, "WIDTH": WIDTH}
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

        def detect(self, model, *options, source=("--camera", device), **settings):
            arguments = ["-m", "tvm_zerocopy.detect", "--model", model, "--conf", CONF, "--json", "-", "--no-draw"]
            return self([*arguments, *source, *options], **settings)

    Camera.frames.write_bytes(pictures.tobytes())
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


def test_nv12_frames_are_the_drivers_own_buffers(camera):
    pictures = np.random.default_rng(1).integers(0, 256, (5, HEIGHT * 3 // 2, WIDTH), np.uint8)
    camera.frames.write_bytes(pictures.tobytes())
    process = camera(["-c", PIXELS, camera.device], FORMAT="NV12")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    notes = [line.split() for line in camera.log.read_text().splitlines()]
    buffers = {int(value) for what, value in notes if what == "map"}
    for line in out.splitlines():
        form, span, luma, chroma = line.split()
        assert (form, span) == ("nv12", "limited")
        assert int(luma) in buffers, "FFmpeg or we copied the frame"
        assert int(chroma) == int(luma) + WIDTH * HEIGHT
    seen = np.load(camera.frames.with_name("seen.npz"))["planes"]
    np.testing.assert_array_equal(seen, pictures.reshape(5, -1)[np.arange(7) % 5])


@pytest.mark.parametrize("subsampling, form", [(2, "i420 full"), (1, "rgb8 full")])
def test_mjpeg_frames_are_decoded(camera, subsampling, form):
    """4:2:0 stays as FFmpeg decodes it, in full range; 4:2:2, which webcams give, is no format of ours."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    pictures = [np.stack([x * 3, y * 4, np.full_like(x, 50 * k)], -1).astype(np.uint8) for k in range(5)]
    wanted, content = [], b""
    for picture in pictures:
        jpeg = io.BytesIO()
        Image.fromarray(picture).save(jpeg, "JPEG", quality=95, subsampling=subsampling)
        wanted.append(np.asarray(Image.open(jpeg).convert("RGB"), int))
        content += len(jpeg.getvalue()).to_bytes(4, "little") + jpeg.getvalue()
    camera.frames.write_bytes(content)
    process = camera(["-c", PIXELS, camera.device], FORMAT="MJPG")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert {line.split()[0] for line in out.splitlines()} == {form.split()[0]}
    assert form == "rgb8 full" or {line.split()[1] for line in out.splitlines()} == {"full"}
    for index, rgb in enumerate(np.load(camera.frames.with_name("seen.npz"))["rgb"]):
        assert np.abs(rgb - wanted[index % 5]).mean() < 2  # decoders differ in how they spread chroma
        assert np.abs(rgb - wanted[(index + 1) % 5]).mean() > 5


@pytest.mark.parametrize("source", [("/dev/video0",), ("--camera", "/dev/video0"), ("--camera",), ("--camera", "0")])
def test_every_way_to_name_it(camera, small_detector, source):
    process = camera.detect(small_detector[0], "--limit", 2, "--size", f"{WIDTH}x{HEIGHT}", source=source)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert [json.loads(line)["source"] for line in out.splitlines()] == ["camera /dev/video0"] * 2


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


def test_interruption_stops_a_camera_that_gives_no_frames_any_more(camera, small_detector):
    process = camera.detect(small_detector[0], STALL=3)
    json.loads(process.stdout.readline())
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert (process.returncode, "Traceback" in err) == (0, False), err


def test_a_device_that_is_no_camera_any_more_is_one_line(camera, small_detector):
    process = camera.detect(small_detector[0], FRAMES="/nowhere")
    out, err = process.communicate(timeout=120)
    assert (process.returncode, out) == (1, "")
    assert f"camera {camera.device} cannot be opened (No such device)" in err
