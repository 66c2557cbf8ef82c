"""A small model, compiled once, and the command line called in this process."""

import json
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from PIL import Image

import tvm_zerocopy as tz
from tvm_zerocopy.cli import main
from tvm_zerocopy.models import build

CLASSES = ("cat", "traffic light", "kite")
CONF = 0.004  # random weights are not sure of much


@pytest.fixture(scope="session")
def model():
    """A YOLOv5 of 64x64 pixels with random weights and three named classes."""
    return build("yolov5n", size=64, classes=CLASSES, seed=3)


@pytest.fixture(scope="session")
def model_path(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "small.onnx"
    onnx.save(model, path)
    return path


@pytest.fixture(scope="session")
def engine(model):
    """Takes rgb8 frames of any size."""
    return tz.compile(model, frame=tz.Frame("rgb8"), postprocess=tz.Nms(conf=CONF))


@pytest.fixture(scope="session")
def artifact(engine, tmp_path_factory):
    path = tmp_path_factory.mktemp("artifact") / "small.so"
    engine.export(path)
    return path


@pytest.fixture(scope="session")
def nameless(model, tmp_path_factory):
    """The model without names, and with dynamic axes."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.metadata_props[:]
    for axis, name in ((0, "batch"), (2, "height"), (3, "width")):
        changed.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    path = tmp_path_factory.mktemp("nameless") / "nameless.onnx"
    onnx.save(changed, path)
    return path


@pytest.fixture
def pictures(tmp_path):
    """A folder with three pictures of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for index, (height, width) in enumerate([(90, 120), (64, 64), (200, 77)]):
        pixels = np.random.default_rng(index).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def run(capsys, monkeypatch, tmp_path):
    """``run("detect", ...)`` -> code, out, err, lines (of standard error), json (objects on standard output)."""
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        objects = [json.loads(line) for line in out.splitlines()] if out.startswith("{") else []
        return SimpleNamespace(code=code, out=out, err=err, lines=err.splitlines(), json=objects)

    return call


@pytest.fixture
def fails(run):
    """Run a command that must fail: its exit code, and its one line."""

    def call(*arguments):
        result = run(*arguments)
        assert result.out == "" and len(result.lines) == 1, result
        assert result.lines[0].startswith("error: ") and "bug" not in result.lines[0]
        return result.code, result.lines[0]

    return call
