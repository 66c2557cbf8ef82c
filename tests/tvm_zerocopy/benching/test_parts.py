"""Stages, layers, comparison and the page, on a small model."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

import tvm_zerocopy as tz
from tvm_zerocopy.benching import compare, layers, plots, report, stages
from tvm_zerocopy.errors import SourceError
from tvm_zerocopy.models import build

for package in ("matplotlib", "jinja2", "scipy"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'tvm-zerocopy[bench]'")


@pytest.fixture(scope="module")
def engine():
    model = build("yolov5n", size=64, classes=("cat", "kite"), seed=3)
    return tz.compile(model, frame=tz.Frame("rgb8"), postprocess=tz.Nms(conf=1e-4))


@pytest.fixture(scope="module")
def measured_layers(engine):
    frame = np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)
    return layers.measure(engine, frame, runs=3)


@pytest.fixture(scope="module")
def measured_stages(engine, tmp_path_factory):
    from PIL import Image

    path = tmp_path_factory.mktemp("stages") / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)).save(path)
    return stages.measure(str(path), lambda spec: engine, warmup=1, frames=4)


def test_every_kernel_has_a_row(engine, measured_layers):
    rows = measured_layers["rows"]
    assert [row["kernel"] for row in rows] == [call["kernel"] for call in engine.program["calls"]]
    assert sum(row["share"] for row in rows) == pytest.approx(1)
    assert measured_layers["peak_gflops"] > 0
    shapes = [row["output"] for row in rows if "conv2d" in row["kernel"]]
    assert shapes[0] == [1, 16, 32, 32] and all(len(shape) == 4 for shape in shapes)
    assert all(row["bytes"] > 0 for row in rows if row["kernel"] != "preprocess")


def test_the_peak_is_that_of_the_program_s_vector_unit(monkeypatch):
    asked = []
    monkeypatch.setattr("tvm_zerocopy.tuning.host.peak_gflops", lambda target: asked.append(target) or 100.0)
    model = build("yolov5n", size=64, classes=3)
    plain = tz.compile(model, frame=tz.Frame("rgb8"), postprocess=None, target="llvm -mcpu=x86-64 -num-cores=1")
    assert layers.measure(plain, np.zeros((64, 64, 3), np.uint8), runs=1)["peak_gflops"] == 100
    assert {str(target.attrs["mcpu"]) for target in asked} == {"x86-64"}


def test_kernels_above_the_peak_are_explained():
    def above(kernel, share, precision):
        return layers._above_peak([{"kernel": kernel, "share_of_peak": share}], precision)

    assert above("conv2d_winograd", 1.2, "float32").startswith("Winograd kernels")
    assert above("conv2d_nchwc", 1.5, "bfloat16") == "bfloat16 kernels: the peak is float32's"
    assert above("conv2d_winograd", 0.9, "bfloat16") is above("conv2d", None, "float32") is None


def test_the_headline_compares_equal_precision():
    rows = [row("ours", [0.010], reduced=True), row("openvino", [0.009]), row("openvino-bf16", [0.020], reduced=True)]
    assert "0.50 times <openvino-bf16>" in report._headline(rows)
    assert report._headline(rows[:2]) == "10.0 ms a frame, 100 frames/s"


def test_an_artifact_in_less_than_float32_is_called_and_held_to_that():
    from tvm_zerocopy.benching.engines import ENGINES

    ours = ENGINES["ours"].in_precision("bfloat16")
    assert (ours.name, ours.title, ours.reduced) == ("ours", "tvm-zerocopy bf16", True)
    assert ENGINES["ours"].in_precision("float32") is ENGINES["ours"]


def test_arithmetic_is_the_convolutions(engine):
    """YOLOv5n has 4.5 GFLOP at 640 (its published figure, 80 classes), in proportion to the area."""
    convolutions = [call["flops"] for call in engine.program["calls"] if "conv2d" in call["kernel"]]
    assert all(flops > 0 for flops in convolutions)
    assert sum(convolutions) == pytest.approx(4.5e9 * (64 / 640) ** 2, rel=0.2)


def test_stages_are_told_apart(engine, measured_stages):
    assert [row["name"] for row in measured_stages["rows"]] == list(stages.STAGES)
    assert all(row["median"] > 0 and row["count"] == 4 for row in measured_stages["rows"])
    largest = max(measured_stages["rows"], key=lambda row: row["median"])
    assert measured_stages["bottleneck"] == largest["name"]
    assert measured_stages["source"] == "picture.png"
    names = stages.kernel_stages(engine.program)
    assert names[:2] == ["preprocess"] * 2 and names[-2:] == ["post-process"] * 2
    assert set(names[2:-2]) == {"inference"}


def test_a_camera_is_told_by_its_device_or_number(engine, monkeypatch, tmp_path):
    from PIL import Image

    from tvm_zerocopy.sources import video
    from tvm_zerocopy.sources.pictures import PictureSource

    picture, opened = tmp_path / "picture.png", set()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 80, 3), np.uint8)).save(picture)

    class Camera(PictureSource):
        def __init__(self, where, size):
            opened.add(where)
            super().__init__(picture)

    monkeypatch.setattr(video, "CameraSource", Camera)
    monkeypatch.chdir(tmp_path)
    for where in ("/dev/video7", "7"):
        found = stages.measure(where, lambda spec: engine, warmup=1, frames=1)
        assert found["camera"] and opened.pop() == where
    (tmp_path / "7").write_bytes(picture.read_bytes())
    assert not stages.measure("7", lambda spec: engine, warmup=1, frames=1)["camera"] and not opened


def row(name, times, **more):
    from tvm_zerocopy.benching.statistics import Summary

    sizes = {"compile_seconds": 1.0, "artifact_bytes": 10**6, "peak_bytes": None, "output_shapes": [[3, 4], [3], [3]]}
    figures = {**Summary.of(times).to_dict(), **sizes, "seconds": times, "processes": [len(times)], "agreement": None}
    return {"name": name, "title": f"<{name}>", "status": "ran", "reason": "", "reduced": False, **figures, **more}


def result(rows, **more):
    text = ("date", "cpu", "system", "python", "model", "model_sha256", "frames", "command")
    environment = {**dict.fromkeys(text, "text & more"), "cpus": 2, "threads": 2, "versions": {"numpy": "1"}}
    return {"kind": "bench", "engines": rows, "environment": environment, "tuning": None, **more}


def test_a_comparison_tells_what_changed():
    old = result([row("ours", [0.010, 0.011] * 20), row("tvm", [1.0, 1.1] * 5)])
    new = result([row("ours", [0.005, 0.006] * 20), row("onnxruntime", [1.0, 1.1])])
    new["environment"] = {**new["environment"], "threads": 4}
    found = compare.compare(old, new)
    assert [(line["name"], line["verdict"]) for line in found["engines"]] == [("ours", "faster")]
    assert found["differs"] == ["threads: 2 then, 4 now"]
    assert found["controls"] == [] and "8%" in compare.noise(found)


def test_what_an_unchanged_peer_moved_is_noise():
    def race(ours, peer, version):
        found = result([row("ours", [ours, ours * 1.01] * 20), row("onnxruntime", [peer, peer * 1.01] * 20)])
        found["environment"]["versions"] = {"onnxruntime": version}
        return found

    old = race(0.010, 0.020, "1.0")
    same, newer = (compare.compare(old, race(0.008, 0.015, version)) for version in ("1.0", "1.1"))
    assert [line["verdict"] for line in same["engines"]] == ["within noise", "faster"]
    assert same["controls"] == ["onnxruntime"] and "onnxruntime" in compare.noise(same)
    assert [line["verdict"] for line in newer["engines"]] == ["faster", "faster"] and newer["controls"] == []


def test_a_result_of_several_processes_is_compared_by_them():
    def race(times):
        return result([row("ours", [time for time in times for _ in range(4)], processes=[4] * len(times))])

    found = compare.compare(race([0.0100, 0.0101, 0.0102]), race([0.0104, 0.0105, 0.0106]))
    (line,) = found["engines"]
    assert line["verdict"] == "slower" and line["floor"] == 0 and found["processes"] == 3
    older = race([0.0100, 0.0101, 0.0102])
    del older["engines"][0]["processes"]  # as written before there were several
    assert compare.compare(older, older)["processes"] == 1


@pytest.mark.parametrize("content", [None, "", "[]", '{"kind": "doctor"}', '{"kind": "bench"}'])
def test_what_is_no_result_is_refused(content, tmp_path):
    path = tmp_path / "old.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(SourceError, match="bench --json"):
        compare.read_result(str(path))


class _Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.links = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "xlink:href") and value[:1] != "#"]


def test_the_page_is_whole_and_loads_nothing(measured_layers, measured_stages, tmp_path):
    missing = {"name": "x", "title": "X", "status": "missing", "reason": "pip install x", "reduced": False}
    watts = {"mean_watts": 12.34, "joules_per_frame": 0.5, "frames_per_joule": 2.0}
    rows = [row("ours", [0.01, 0.02, 0.03], power=watts), row("tvm", [1.0, 2.0]), missing]
    full = result(rows, stages=measured_stages, layers=measured_layers, power="measured with RAPL")
    full["comparison"] = compare.compare(full, full)
    text = report.write(full, str(tmp_path / "new" / "page")).read_text(encoding="utf-8")
    page = _Page()
    page.feed(text)
    assert page.tags.count("svg") == 3 and page.links == []
    assert not re.findall(r"url\((?!#)|@import", text)
    assert "&lt;ours&gt;" in text and "<ours>" not in text and "text &amp; more" in text
    assert "pip install x" in text and measured_layers["rows"][1]["kernel"] in text
    assert "<td>12.3</td><td>0.500</td><td>2.00</td>" in text and "measured with RAPL" in text


def test_a_plot_of_each_part_is_a_picture(measured_layers, measured_stages, tmp_path):
    from PIL import Image

    parts = (
        result([row("ours", [0.01, 0.02])]),
        result([], stages=measured_stages),
        result([], layers=measured_layers),
    )
    for part in parts:
        plots.save(plots.plot_of(part), str(tmp_path / "plot.png"))
        with Image.open(tmp_path / "plot.png") as picture:
            assert picture.format == "PNG" and len(set(np.asarray(picture.convert("L")).ravel())) > 10
