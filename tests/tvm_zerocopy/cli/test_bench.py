"""``tvm-zerocopy bench`` from its arguments to its outputs."""

import csv
import importlib.util
import json
import os

import pytest

for package in ("cv2", "onnxruntime", "matplotlib", "jinja2", "scipy"):
    pytest.importorskip(package, reason=f"{package} is not installed: pip install 'tvm-zerocopy[bench,peers]'")

CONF = "0.004"


@pytest.fixture(autouse=True)
def same_threads(monkeypatch):
    monkeypatch.setenv("TVM_NUM_THREADS", os.environ.get("TVM_NUM_THREADS", "2"))


def test_a_race_as_json_table_csv_plot_and_compared(run, model_path, tmp_path):
    words = ["bench", model_path, "--size", "80x48", "--conf", CONF, "--iterations", "5", "--warmup", "2"]
    first = run(*words, "--engines", "ours,onnxruntime", "--json", "old.json", "--csv", "r.csv", "--plot", "r.png")
    assert first.code == 0, first
    assert "onnxruntime + OpenCV" in first.out and "yes:" in first.out
    old = json.loads((tmp_path / "old.json").read_text())
    assert [row["status"] for row in old["engines"]] == ["ran", "ran"]
    assert all(row["count"] == len(row["seconds"]) == 5 for row in old["engines"])
    assert old["environment"]["frames"] == "4 x bgr8 80x48, sample pictures"
    assert str(tmp_path) not in old["environment"]["model"]
    with open(tmp_path / "r.csv", newline="") as file:
        ours, peer = csv.DictReader(file)
    assert (ours["name"], peer["name"]) == ("ours", "onnxruntime")
    assert ours["output_shapes"] == "1x300x4; 1x300; 1x300; 1" and peer["output_shapes"].startswith("1x")
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")

    again = run(*words, "--compare", "old.json", "--json", "-")
    assert again.code == 0
    (new,) = again.json
    assert [row["name"] for row in new["comparison"]["engines"]] == ["ours"]
    assert new["comparison"]["differs"] == []


def test_an_artifact_its_layers_and_stages(run, artifact, pictures):
    few = ("--iterations", "2", "--warmup", "1", "--json", "-")
    (layers,) = run("bench", artifact, "--layers", *few).json
    assert len(layers["layers"]["rows"]) > 10 and layers["engines"] == []
    (stages,) = run("bench", artifact, "--stages", pictures, *few).json
    assert stages["stages"]["bottleneck"] in [row["name"] for row in stages["stages"]["rows"]]
    result = run("bench", artifact, "--engines", "ours,onnxruntime", "--size", "80x48", *few)
    ours, peer = result.json[0]["engines"]
    assert ours["status"] == "ran" and peer["status"] == "missing" and "ONNX model" in peer["reason"]


def test_a_report_takes_everything_else_with_it(run, artifact, pictures, tmp_path):
    words = ("--engines", "ours,tvm", "--iterations", "2", "--warmup", "1", "--size", "80x48", "--stages", pictures)
    done = run("bench", artifact, *words, "--report", "page", "--trace", "t.json", "--csv", "r.csv", "--power")
    assert done.code == 0, done
    page = (tmp_path / "page" / "index.html").read_text()
    for part in ("From the camera", "Did not run", "Where the time", "Kernels", "To repeat it", "Power:"):
        assert part in page
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"] and (tmp_path / "r.csv").exists()


def test_where_nothing_ran_there_is_no_empty_table(run, artifact):
    done = run("bench", artifact, "--engines", "tvm", "--size", "80x48")
    assert done.code == 1 and "TVM stock missing: " in done.out and "median" not in done.out


@pytest.mark.parametrize(
    "words, code, line",
    [
        (("--engines", "ours,nonsense"), 2, "there is no nonsense"),
        (("--engines", "ours", "--layers"), 2, "--engines is of the race"),
        (("--compare", "absent.json"), 1, "absent.json"),
        (("--budget", "-1"), 2, "--budget"),
        (("--trace", "t.json", "--plot", "t.png"), 2, "--plot draws a race"),
        (("--stages", "7"), 1, "/dev/video7: no such camera"),
        (("--processes", "0"), 2, "--processes"),
        (("--plot", "absent/r.png"), 1, "there is no folder"),
        (("--plot", "r.pdf"), 2, "name that ends in .png"),
        (("--csv", "/proc/r.csv"), 1, "--csv /proc/r.csv"),  # not even root writes there
        (("--trace", "."), 1, "--trace"),
        (("--report", "/proc/page"), 1, "--report /proc/page"),
        (("--source", "absent.mp4"), 1, "absent.mp4"),
    ],
)
def test_wrong_arguments_are_one_line_before_any_work(fails, model_path, words, code, line):
    found = fails("bench", model_path, *words)
    assert found[0] == code and line in found[1]


@pytest.mark.parametrize("option, package", [("plot", "matplotlib"), ("report", "jinja2"), ("compare", "scipy")])
def test_a_package_that_an_output_needs_is_missed_before_any_work(fails, monkeypatch, option, package):
    find = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None if name == package else find(name, *rest))
    code, line = fails("bench", f"--{option}", "out.png")
    assert code == 1 and f"--{option} needs {package}; pip install 'tvm-zerocopy[bench]'" in line


@pytest.mark.parametrize(
    "change", [{"environment": None}, {"engines": [{"name": "ours", "status": "ran"}]}, {"engines": [3]}]
)
def test_a_result_with_parts_missing_is_no_result(fails, tmp_path, change):
    whole = {"kind": "bench", "environment": {}, "engines": []}
    (tmp_path / "old.json").write_text(json.dumps({**whole, **change}))
    code, line = fails("bench", "--compare", str(tmp_path / "old.json"))
    assert code == 1 and "is no whole result of bench" in line


def test_options_that_an_artifact_has_compiled_in_are_refused(fails, artifact):
    code, line = fails("bench", artifact, "--conf", "0.5")
    assert code == 2 and "--conf is compiled into" in line
