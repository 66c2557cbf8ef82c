"""``tvm-zerocopy compile``."""

import json
import shutil

import numpy as np
import onnx
import pytest

import tvm_zerocopy as tz
from tvm_zerocopy.artifact import read_artifact


def test_writes_an_artifact_and_says_what_it_did(run, model_path, tmp_path):
    result = run("compile", model_path, "--format", "nv12", "--size", "128x96", "--conf", "0.02", "--dump", "modules")
    assert result.code == 0 and not result.err
    assert "small.so" in result.out and "nv12, 128x96" in result.out
    engine = tz.load(tmp_path / "small.so")
    assert engine.frame == tz.Frame("nv12", 96, 128)
    assert engine.postprocess == tz.Nms(conf=0.02, head="yolov5")
    assert engine.names == ("cat", "traffic light", "kite")
    assert len(engine(np.zeros((144, 128), np.uint8)).boxes) >= 0
    files = sorted(path.name for path in (tmp_path / "modules").iterdir())
    assert files[0] == "00_import.py" and any("FusePreprocess" in name for name in files)
    assert files[-1].endswith("_LowerMainToPrimFunc.py")
    texts = [(tmp_path / "modules" / name).read_text() for name in files]
    assert all("@I.ir_module" in text for text in texts)
    assert "uint8" not in texts[0] and "uint8" in texts[-1]


def test_json_on_standard_output_is_all_there_is(run, model_path, tmp_path):
    result = run("compile", model_path, "-o", tmp_path / "a.so", "--json", "-", "--raw")
    (report,) = result.json
    assert report["output"] == str(tmp_path / "a.so") and report["bytes"] == (tmp_path / "a.so").stat().st_size
    assert report["postprocess"] is None and report["frame"]["format"] == "bgr8"
    assert [step["name"] for step in report["steps"]][0] == "import"
    assert all(step["seconds"] >= 0 for step in report["steps"])


def test_report_of_a_cpu_program(run, model_path, tmp_path):
    result = run("compile", model_path, "--raw", "--report", "--json", "report.json")
    assert result.code == 0 and not result.err
    (report,) = [json.loads(line) for line in (tmp_path / "report.json").read_text().splitlines()]
    kernels = report["kernels"]["kernels"]
    convolutions = [kernel for kernel in kernels if "conv2d" in kernel["name"]]
    engine = tz.load(tmp_path / "small.so")
    assert sum(kernel["calls"] for kernel in kernels) == len(engine.program["calls"])
    assert sum(kernel["flop"] for kernel in kernels) == sum(call["flops"] or 0 for call in engine.program["calls"])
    # the smallest YOLOv5 at 640 x 640 has 4.5 GFLOP (Ultralytics' table); a hundredth of the pixels, three classes
    assert 0.03e9 < sum(kernel["flop"] for kernel in convolutions) < 0.05e9
    for kernel in kernels:
        assert kernel["name"] in result.out or kernel["name"][:40] in result.out


@pytest.mark.cuda12
def test_an_artifact_with_ptx(run, model_path, tmp_path):
    result = run("compile", model_path, "--target", "cuda -arch=sm_72", "--raw", "--ptx", "-o", "ptx.so")
    assert result.code == 0 and not result.err
    assert b".target sm_72" in (tmp_path / "ptx.so").read_bytes()
    metadata = read_artifact(tmp_path / "ptx.so").metadata
    assert metadata["device_code"] == "ptx" and metadata["cuda"]["driver"] == [11, 4]  # JetPack 5's
    assert "ptx of CUDA" in result.out and "for drivers of CUDA 11.4 or newer" in result.out


def test_ptx_for_a_cpu_is_refused_before_anything_is_compiled(run, model_path, tmp_path):
    result = run("compile", model_path, "--ptx")
    assert result.code == 1 and result.err.count("\n") == 1
    assert "--ptx is for CUDA and the target is llvm" in result.err
    assert not (tmp_path / "small.so").exists()


@pytest.mark.parametrize(
    "target, message",
    [
        (
            "llvm -mtriple=riscv64-linux-gnu -mcpu=generic-rv64",
            "links with riscv64-linux-gnu-g++, which is not installed",
        ),
        ("cuda -arch=sm_7x", "'sm_7x' is no CUDA architecture; write for example sm_72"),
        ("cuda -arch=sm_999", "for sm_999 "),
    ],
)
def test_missing_compilers_are_named_before_anything_is_compiled(
    fails, model_path, tmp_path, monkeypatch, target, message
):
    monkeypatch.setattr("tvm_zerocopy.compile", lambda *_, **__: pytest.fail("it was compiled"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    assert message in fails("compile", model_path, "--target", target)[1]


@pytest.mark.cuda12
@pytest.mark.skipif(shutil.which("aarch64-linux-gnu-g++") is None, reason="links with aarch64-linux-gnu-g++")
def test_artifact_and_report_for_xavier(run, model_path, tmp_path):
    result = run("compile", model_path, "--target", "nvidia/jetson-agx-xavier", "--report", "--json", "report.json")
    assert result.code == 0 and not result.err
    assert (tmp_path / "small.so").read_bytes()[18:20] == b"\xb7\0"  # e_machine, elf(5): aarch64
    whole = json.loads((tmp_path / "report.json").read_text())
    code, report = whole["device_code"], whole["kernels"]
    assert (code["arch"], code["kind"], code["driver"]) == ("sm_72", "cubin", [code["toolkit"][0], 0])
    assert ("JetPack 5's own is 11.4" in " ".join(result.out.split())) == (code["driver"] > [11, 4])
    assert report["gpu"] == "Jetson AGX Xavier" and "not measured" in report["model"]
    kernels = report["kernels"]
    assert len({kernel["name"] for kernel in kernels}) == len(kernels) > 20
    for kernel in kernels:
        assert kernel["spill_bytes"] == 0 and 0 < kernel["registers"] <= 255, kernel
        assert 0 < kernel["occupancy"] <= 1 and kernel["launches"] >= 1, kernel
        assert 0 <= kernel["roofline_seconds"] <= kernel["predicted_seconds"] <= kernel["longest_seconds"] < 1, kernel
        assert kernel["unknown"] == [], kernel
    total = sum(kernel["launches"] * kernel["predicted_seconds"] for kernel in kernels)
    assert report["predicted_ms"] == pytest.approx(total * 1e3)
    assert "predicted" in result.out and "no spills" in result.out
    (select,) = [kernel for kernel in kernels if kernel["assumed"]]
    assert "select_detections" in select["name"] and select["longest_seconds"] > select["predicted_seconds"]
    longest = f"{select['name']} ({select['longest_seconds'] * 1e6:.0f} us at their longest)"
    assert f"as their buffers' sizes allow: {longest}" in result.out and "count as one step" not in result.out


def test_a_model_without_names_and_with_dynamic_axes(run, nameless, tmp_path):
    (tmp_path / "names.txt").write_text("a\nb\nc\n")
    options = ("--input-shape", "1,3,64,64", "--names", "names.txt", "--json", "report.json")
    result = run("compile", nameless, *options)
    assert (result.code, result.err) == (0, "")
    assert json.loads((tmp_path / "report.json").read_text())["output"] == "nameless.so"
    assert tz.load(tmp_path / "nameless.so").names == ("a", "b", "c")


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (("absent.onnx",), 1, "absent.onnx: No such file"),
        ((".",), 1, "is a directory; give the .onnx file"),
        (("MODEL", "-o", "."), 1, "is a folder; name the file"),
        (("MODEL", "-o", "nowhere/a.so"), 1, "there is no folder nowhere"),
        (("MODEL", "--format", "nv12", "--size", "3x5"), 1, "4:2:0 needs even width and height"),
        (("MODEL", "--format", "yuyv", "--size", "3x4"), 1, "4:2:2 needs an even width"),
        (("MODEL", "--size", "0x5"), 2, "write WIDTHxHEIGHT"),
        (("MODEL", "--size", "1920"), 2, "write WIDTHxHEIGHT"),
        (("MODEL", "--format", "rgb9"), 2, "invalid choice: 'rgb9'"),
        (("MODEL", "--pitch", "64"), 2, "--pitch needs --size"),
        (("MODEL", "--size", "64x64", "--pitch", "10"), 1, "pitch 10 is less than the 192 bytes"),
        (("MODEL", "--conf", "2"), 2, "not a number from 0 to 1"),
        (("MODEL", "--max-det", "0"), 2, "at least 1"),
        (("MODEL", "--head", "end2end"), 1, "'end2end' does not fit the model"),
        (("MODEL", "--names", "absent.txt"), 1, "absent.txt: No such file"),
        (("MODEL", "--target", "pdp11"), 1, "pdp11"),
        (("MODEL", "--precision", "float13"), 1, "precision 'float13' is not supported"),
        (("MODEL", "--input-shape", "1,3,32,32"), 1, "does not fit the model's input 'images' (1, 3, 64, 64)"),
        (("MODEL", "--input-shape", "1,3,x"), 2, "1,3,640,640"),
        (("MODEL", "--json", "nowhere/a.json"), 1, "--json nowhere/a.json"),
    ],
)
def test_wrong_arguments(fails, model_path, arguments, code, message):
    arguments = [model_path if argument == "MODEL" else argument for argument in arguments]
    result = fails("compile", *arguments)
    assert result[0] == code and message in result[1]


def change_and_save(model, path, change):
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    change(changed)
    onnx.save(changed, path)


def test_bad_models(fails, model, nameless, tmp_path):
    onnx.save(model, tmp_path / "small.onnx")
    data = model.SerializeToString()
    (tmp_path / "cut.onnx").write_bytes(data[: len(data) // 2])
    code, line = fails("compile", "cut.onnx")
    assert code == 1 and "truncated ONNX model" in line

    (tmp_path / "photo.onnx").write_bytes(b"\xff\xd8\xff\xe0" + bytes(64))
    assert fails("compile", "photo.onnx")[1].startswith("error: photo.onnx is not an ONNX model")

    def odd_operator(m):
        m.graph.node[3].op_type = "Det"

    change_and_save(model, tmp_path / "odd.onnx", odd_operator)
    assert f"Det (node '{model.graph.node[3].name}')" in fails("compile", "odd.onnx")[1]

    code, line = fails("compile", nameless)
    assert code == 1 and "0 (batch), 2 (height), 3 (width)" in line and "--input-shape 1,3,640,640" in line

    (tmp_path / "names.txt").write_text("a\nb\n")
    code, line = fails("compile", "small.onnx", "--names", "names.txt")
    assert code == 1 and "there are 2 class names and the model has 3 classes" in line

    onnx.save(no_head(), tmp_path / "classifier.onnx")
    code, line = fails("compile", "classifier.onnx")
    assert code == 1 and "head" in line


def no_head():
    from tvm_zerocopy.models import build

    return build("resnet18", size=64, classes=4)
