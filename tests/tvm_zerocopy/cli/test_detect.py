"""``tvm-zerocopy detect`` on every kind of source."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import tvm_zerocopy as tz
from tvm_zerocopy import compiler
from tvm_zerocopy.reference import image
from tvm_zerocopy.sources import open_source

CONF = 0.004  # random weights are not sure of much

av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'tvm-zerocopy[video]'")


@pytest.fixture(autouse=True, scope="module")
def compile_once():
    """Engines that several tests ask for are compiled once."""
    engines, patch = {}, pytest.MonkeyPatch()
    compile_model = compiler.compile

    def remembered(model, progress=None, **options):
        content = model.SerializeToString() if isinstance(model, onnx.ModelProto) else Path(model).read_bytes()
        key = hashlib.sha256(content).digest(), repr(sorted(options.items()))
        if key not in engines or engines[key].names is None:  # its warning is part of what is tested
            engines[key] = compile_model(model, **options)
        return engines[key]

    patch.setattr(compiler, "compile", remembered)
    yield
    patch.undo()


def write_video(path, count=6, size=(96, 64), codec="mpeg4", pixels="yuv420p"):
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        (stream.width, stream.height), stream.pix_fmt = size, pixels
        for index in range(count):
            noise = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24").reformat(format=pixels)))
        container.mux(stream.encode())
    return path


def assert_same(objects, detections):
    """JSON objects of the command line against the engine's detections."""
    assert [o["frame"] for o in objects] == list(range(len(detections)))
    for found, expected in zip(objects, detections):
        found = found["detections"]
        assert [d["class"] for d in found] == expected.classes.tolist()
        assert [d["name"] for d in found] == [expected.names[c] for c in expected.classes]
        np.testing.assert_allclose(np.reshape([d["box"] for d in found], (-1, 4)), expected.boxes, atol=0.01)
        np.testing.assert_allclose([d["score"] for d in found], expected.scores, atol=1e-4)


class TestPictures:
    def test_json_is_what_the_engine_finds_in_frame_pixels(self, run, artifact, engine, pictures):
        result = run("detect", pictures, "--model", artifact, "--json", "-")
        assert result.code == 0 and not (pictures.parent / "detections").exists()
        files = sorted(pictures.iterdir())
        assert [o["source"] for o in result.json] == [str(path) for path in files]
        assert_same(result.json, [engine(np.asarray(Image.open(path))) for path in files])
        assert sum(len(o["detections"]) for o in result.json) > 0, "the comparison compares something"

    def test_annotated_pictures_and_a_table_for_people(self, run, artifact, pictures, tmp_path):
        result = run("detect", pictures / "0.png", pictures / "2.png", "--model", artifact, "--save", "out")
        assert result.code == 0 and not result.err
        assert sorted(os.listdir("out")) == ["0.png", "2.png"]
        for name in ("0.png", "2.png"):
            drawn, source = (np.asarray(Image.open(folder / name)) for folder in (tmp_path / "out", pictures))
            assert drawn.shape == source.shape and (drawn != source).any()
        assert "frames/s" in result.out and "score" in result.out
        assert any(name in result.out for name in ("cat", "traffic light", "kite"))

    def test_the_default_folder_and_no_draw(self, run, artifact, pictures):
        run("detect", pictures / "0.png", "--model", artifact, "--no-draw")
        assert not os.path.exists("detections")
        run("detect", pictures / "0.png", "--model", artifact)
        assert os.listdir("detections") == ["0.png"]

    def test_only_some_classes(self, run, artifact, pictures):
        everything = run("detect", pictures, "--model", artifact, "--json", "-").json
        some = run("detect", pictures, "--model", artifact, "--json", "-", "--classes", "kite,0").json
        for all_of_it, few in zip(everything, some):
            assert few["detections"] == [d for d in all_of_it["detections"] if d["name"] in ("kite", "cat")]

    def test_limit(self, run, artifact, pictures):
        assert len(run("detect", pictures, "--model", artifact, "--json", "-", "--limit", "2").json) == 2

    def test_a_broken_picture_is_named_and_the_others_are_done(self, run, artifact, pictures):
        (pictures / "1.png").write_bytes(b"broken")
        result = run("detect", pictures, "--model", artifact, "--json", "-")
        assert result.code == 1 and len(result.json) == 2
        assert [line for line in result.lines if line.startswith("error: ")] == [result.lines[-1]]
        assert "1.png" in result.lines[-1]

    def test_an_onnx_model_is_compiled_on_the_way(self, run, model_path, artifact, pictures):
        compiled = run("detect", pictures, "--model", model_path, "--conf", str(CONF), "--json", "-")
        assert compiled.json == run("detect", pictures, "--model", artifact, "--json", "-").json

    def test_names_from_a_file(self, run, artifact, pictures, tmp_path):
        (tmp_path / "names.txt").write_text("x\ny\nz\n")
        objects = run("detect", pictures, "--model", artifact, "--json", "-", "--names", "names.txt").json
        names = {d["class"]: d["name"] for o in objects for d in o["detections"]}
        assert names and all(name == "xyz"[number] for number, name in names.items())


class TestVideos:
    def test_the_decoders_planes_go_to_a_program_for_them(self, run, model, model_path, tmp_path):
        path = write_video(tmp_path / "in.mp4")
        result = run(
            "detect", path, "--model", model_path, "--conf", str(CONF), "--json", "out.jsonl", "--save", "a.mp4"
        )
        assert result.code == 0
        with open_source(str(path)) as source:
            frames = list(source)
        engine = compiler.compile(model, frame=frames[0].spec, postprocess=tz.Nms(conf=CONF))
        objects = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert_same(objects, [engine(frame.planes) for frame in frames])
        with av.open("a.mp4") as container:
            assert sum(1 for _ in container.decode(video=0)) == 6
        assert "6 frames" in result.out

    def test_a_video_that_ends_in_garbage_keeps_its_frames(self, run, artifact, tmp_path):
        path = write_video(tmp_path / "in.avi", 30, codec="mjpeg", pixels="yuvj420p")
        data = path.read_bytes()
        path.write_bytes(data[: len(data) // 2] + bytes(range(256)) * 100)
        result = run("detect", path, "--model", artifact, "--json", "out.jsonl", "--save", "out")
        kept = len((tmp_path / "out.jsonl").read_text().splitlines())
        assert result.code == 1 and 5 < kept < 20
        assert result.lines[-1].startswith("error: ") and "in.avi" in result.lines[-1] and "kept" in result.lines[-1]
        with av.open("out/in.mp4") as container:
            assert sum(1 for _ in container.decode(video=0)) == kept

    def test_a_camera_gives_frames_until_the_limit(self, run, artifact, tmp_path, monkeypatch):
        """A video stands in for what V4L2 would give; how FFmpeg is asked for it is what is tested."""
        path, asked, open_container = (
            write_video(tmp_path / "street.avi", 8, codec="mjpeg", pixels="yuvj420p"),
            [],
            av.open,
        )

        def open_camera(where, *more, **how):
            if where != str(tmp_path / "video5"):
                return open_container(where, *more, **how)
            asked.append(how)
            return open_container(str(path))

        (tmp_path / "video5").touch()
        monkeypatch.setattr(av, "open", open_camera)
        camera = ("--camera", tmp_path / "video5", "--size", "96x64", "--limit", "3")
        result = run("detect", *camera, "--model", artifact, "--json", "-", "--save", "seen")
        count = len(result.json)  # frames that a slow program has no time for are dropped
        assert result.code == 0 and 1 <= count <= 3
        assert [found["frame"] for found in result.json] == list(range(count))
        assert asked == [{"format": "v4l2", "options": {"video_size": "96x64"}}]
        with open_container("seen/video5.mp4") as saved:
            assert sum(1 for _ in saved.decode(video=0)) == count

    def test_an_artifact_for_another_format_gets_the_frames_converted(self, run, artifact, engine, tmp_path):
        path = write_video(tmp_path / "in.mkv", 2, codec="ffv1", pixels="yuv444p")
        result = run("detect", path, "--model", artifact, "--json", "-")
        with open_source(str(path)) as source:
            assert_same(result.json, [engine(frame.planes[0]) for frame in source])

    def test_an_artifact_for_another_size_says_so(self, fails, model_path, run, tmp_path):
        write_video(tmp_path / "in.mp4", 2)
        assert run("compile", model_path, "--format", "rgb8", "--size", "50x40").code == 0
        code, line = fails("detect", "in.mp4", "--model", "small.so")
        assert code == 1 and "is 96x64 and the model was compiled for 50x40" in line


class TestRawFrames:
    def test_every_frame_of_the_file(self, run, model, model_path, tmp_path):
        rows = np.random.default_rng(0).integers(0, 256, (3, 96, 80), dtype=np.uint8)
        (tmp_path / "dump.nv12").write_bytes(rows.tobytes())
        arguments = (
            "--frame-format",
            "nv12",
            "--size",
            "70x64",
            "--pitch",
            "80",
            "--matrix",
            "bt709",
            "--range",
            "full",
        )
        result = run("detect", "dump.nv12", "--model", model_path, "--conf", str(CONF), "--json", "-", *arguments)
        assert result.code == 0
        frame = tz.Frame("nv12", 64, 70, 80, matrix="bt709", range="full")
        engine = compiler.compile(model, frame=frame, postprocess=tz.Nms(conf=CONF))
        assert_same(result.json, [engine(one[:, :70]) for one in rows])

    def test_a_partial_frame_at_the_end(self, run, artifact, tmp_path):
        (tmp_path / "dump.rgb").write_bytes(bytes(30 * 20 * 3 * 2 + 7))
        result = run(
            "detect", "dump.rgb", "--model", artifact, "--frame-format", "rgb8", "--size", "30x20", "--json", "-"
        )
        assert result.code == 1 and len(result.json) == 2
        assert "ends with 7 bytes that are not a whole rgb8 frame" in result.lines[-1]

    def test_annotated_raw_frames_show_the_picture(self, run, artifact, tmp_path, monkeypatch):
        monkeypatch.setattr("tvm_zerocopy.cli.detect.draw", lambda pixels, *_: pixels)  # boxes would hide it
        nv12 = np.random.default_rng(0).integers(0, 256, (96, 64), dtype=np.uint8)
        (tmp_path / "dump.nv12").write_bytes(nv12.tobytes())
        arguments = ("--frame-format", "nv12", "--size", "64x64", "--save", "out")
        assert run("detect", "dump.nv12", "--model", artifact, *arguments).code == 0
        with av.open("out/dump.mp4") as container:
            (frame,) = container.decode(video=0)
        expected = image.to_rgb([nv12], tz.Frame("nv12", 64, 64)).astype(int)
        assert np.abs(frame.to_ndarray(format="rgb24").mean(axis=(0, 1)) - expected.mean(axis=(0, 1))).max() < 12


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (("absent.jpg",), 1, "absent.jpg: no such file or folder; give a picture"),
        (("empty.jpg",), 1, "empty.jpg is empty"),
        (("noise.bin",), 1, "noise.bin is not a picture"),
        (("photos", "--model", "absent.onnx"), 1, "absent.onnx: No such file"),
        (("photos", "--model", "absent.so"), 1, "absent.so"),
        (("photos", "--model", "noise.bin"), 1, "noise.bin is not an ONNX model"),
        (("photos", "--model", "ARTIFACT", "--conf", "0.5"), 2, "--conf is compiled into"),
        (
            ("photos", "--model", "ARTIFACT", "--classes", "dragon"),
            2,
            "no class 'dragon'; it has cat, traffic light, kite",
        ),
        (("photos", "--model", "ARTIFACT", "--classes", "9"), 2, "no class '9'"),
        (("photos", "--model", "ARTIFACT", "--names", "absent.txt"), 1, "absent.txt: No such file"),
        (("photos", "--model", "ARTIFACT", "--names", "two.txt"), 1, "has 2 names and"),
        (("", "--model", "ARTIFACT"), 1, "an empty name: no such file"),
        (("photos", "--model", "ARTIFACT", "--no-draw", "--save", "x"), 2, "contradict"),
        (("photos", "--model", "ARTIFACT", "--save", "photos/0.png"), 1, "photos/0.png"),
        (("photos/0.png", "--model", "ARTIFACT", "--save", "photos"), 1, "would overwrite the source"),
        (("noise.bin", "--model", "ARTIFACT", "--frame-format", "nv12"), 1, "need their size: --size"),
        (("noise.bin", "--model", "ARTIFACT", "--frame-format", "nv12", "--size", "31x20"), 1, "even width and height"),
        (("noise.bin", "--model", "ARTIFACT", "--frame-format", "nv12", "--size", "640x480"), 1, "less than one nv12"),
        (("photos", "--model", "ARTIFACT", "--frame-format", "rgb8", "--size", "9x9"), 1, "is a folder"),
        (("ARTIFACT",), 1, "is a model and not a picture or a video; detect takes it as --model"),
        (("photos", "--model", "ARTIFACT", "--size", "9x9"), 2, "needs --frame-format or --camera"),
        (("--camera", "97", "--model", "ARTIFACT"), 1, "no such camera"),
        (("--frame-format", "rgb8", "--model", "ARTIFACT"), 2, "name the file"),
    ],
)
def test_bad_input(fails, artifact, pictures, tmp_path, arguments, code, message):
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "two.txt").write_text("one\ntwo\n")
    (tmp_path / "noise.bin").write_bytes(np.random.default_rng(0).bytes(1000))
    if "--model" not in arguments:
        arguments = (*arguments, "--model", "ARTIFACT")
    result = fails("detect", *(artifact if argument == "ARTIFACT" else argument for argument in arguments))
    assert result[0] == code and message in result[1]


def test_broken_artifacts_are_refused_before_anything_runs(fails, artifact, pictures, tmp_path):
    data = artifact.read_bytes()
    broken = {
        "cut.so": data[: len(data) // 2],
        "changed.so": data[:5000] + bytes([data[5000] ^ 1]) + data[5001:],
        "foreign.so": b"\x7fELF\x02\x01\x01" + bytes(5000),
        "empty.so": b"",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        code, line = fails("detect", pictures, "--model", name)
        assert code == 1 and name in line


def test_raw_output_artifacts_are_no_detectors(fails, run, model_path, pictures):
    assert run("compile", model_path, "--raw", "-o", "raw.so").code == 0
    code, line = fails("detect", pictures, "--model", "raw.so")
    assert code == 1 and "compile the model again without --raw" in line


def test_a_model_without_names_warns_once_and_numbers_its_classes(run, nameless, pictures):
    options = ("--model", nameless, "--input-shape", "1,3,64,64", "--conf", str(CONF), "--json", "-")
    result = run("detect", pictures, *options)
    assert result.code == 0
    assert [line for line in result.lines if line.startswith("warning")] == [
        "warning: model yolov5n does not name its classes; detections carry class numbers "
        "(give names=[...] or --names FILE)"
    ]
    assert {d["name"] for o in result.json for d in o["detections"]} <= {"class 0", "class 1", "class 2"}


def test_the_first_command_of_the_readme(run):
    """No source, no model: the embedded detector on the sample pictures."""
    result = run("detect")
    assert result.code == 0 and not result.err
    assert "frames/s" in result.out and len(os.listdir("detections")) >= 3


def test_progress_never_reaches_a_pipe(artifact, pictures, tmp_path):
    command = [sys.executable, "-m", "tvm_zerocopy.detect", str(pictures), "--model", str(artifact), "--json", "-"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0
    assert len([json.loads(line) for line in done.stdout.splitlines()]) == 3
    assert "\x1b" not in done.stdout + done.stderr
