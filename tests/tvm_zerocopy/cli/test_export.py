"""``tvm-zerocopy export`` as a person and as a script see it."""

import json

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tvm_zerocopy import models
from tvm_zerocopy.cli import main


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_random_weights_are_said_to_be_random(folder, capsys):
    assert main(["export", "yolov5n", "--size", "64"]) == 0
    out, err = capsys.readouterr()
    assert "output0 (1, 252, 85)" in out and "random, seed 0" in out and "yolov5n.onnx" in out
    assert err.startswith("warning: the weights are random") and "--weights" in err
    onnx.checker.check_model(str(folder / "yolov5n.onnx"))


def test_json_on_standard_output_is_all_there_is(folder, capsys):
    arguments = ["export", "yolov8n", "--size", "96x64", "--opset", "13", "--batch", "2", "-o", "m.onnx", "--json", "-"]
    assert main(arguments) == 0
    report = json.loads(capsys.readouterr().out)
    assert report == {
        "path": "m.onnx",
        "model": "yolov8n",
        "weights": "random, seed 0",
        "opset": 13,
        "classes": 80,
        "input": {"name": "images", "shape": [2, 3, 64, 96]},
        "output": {"name": "output0", "shape": [2, 84, 126]},
        "file_bytes": (folder / "m.onnx").stat().st_size,
    }
    model = onnx.load("m.onnx")
    assert [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim] == [2, 3, 64, 96]
    assert model.opset_import[0].version == 13


def test_seeds_give_different_networks_and_the_same_ones(folder):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main(["export", "yolov5n", "--size", "64", "--seed", str(seed), "-o", name]) == 0
    a, b, c = ((folder / name).read_bytes() for name in "abc")
    assert a == b != c


def test_a_checkpoint_that_torch_saved_is_exported(folder, capsys):
    torch = pytest.importorskip("torch")
    built = models.build("resnet18", size=64, classes=5, seed=3)
    weights = {i.name: numpy_helper.to_array(i) for i in built.graph.initializer if "." in i.name}
    torch.save({name: torch.from_numpy(array.copy()) for name, array in weights.items()}, "w.pth")
    assert main(["export", "resnet18", "--weights", "w.pth", "--size", "64"]) == 0
    out, err = capsys.readouterr()
    assert "classes 5" in out and "w.pth (state_dict)" in out and err == ""
    exported = {i.name: numpy_helper.to_array(i) for i in onnx.load("resnet18.onnx").graph.initializer}
    for name, array in weights.items():
        np.testing.assert_array_equal(exported[name], array)


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["yolov5z"], 1, "there is no model 'yolov5z'; there are yolov5n"),
        (["yolov5n", "--weights", "none.pt"], 1, "cannot read none.pt: No such file"),
        (["yolov5n", "--weights", "text.pt"], 1, "text.pt is no PyTorch checkpoint"),
        (["yolov5n", "--opset", "9"], 1, "opset is 9; it must be from 11"),
        (["yolov5n", "--size", "65"], 1, "multiples of 32"),
        (["yolov5n", "-o", "no/such/folder.onnx"], 1, "directory that exists"),
        (["yolov5n", "--size", "big"], 2, "write 640 or WIDTHxHEIGHT"),
        (["yolov5n", "--weights", "x.pt", "--hub"], 2, "not allowed with"),
        (["yolov5n", "--seed", "-1"], 2, "must not be negative"),
        ([], 2, "MODEL"),
    ],
)
def test_what_is_wrong_is_one_line(folder, capsys, arguments, code, message):
    (folder / "text.pt").write_text("not a checkpoint")
    assert main(["export", *arguments]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and message in err
    assert [path.name for path in folder.iterdir()] == ["text.pt"]
