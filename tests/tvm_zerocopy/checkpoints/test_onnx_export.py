"""``export_onnx``: checkpoints in, the right network out, everything else named."""

import ast
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from tvm_zerocopy import models
from tvm_zerocopy.checkpoints import download, export_onnx, recognize
from tvm_zerocopy.errors import ModelError, UnsupportedError

SMALL = {"size": 64}


def published_weights(model, classes, seed=1):
    """A state dict with the entries that the published checkpoint of ``model`` has, in half precision."""
    built = models.build(model, size=64, classes=classes, seed=seed)
    weights = {
        i.name: numpy_helper.to_array(i).astype(np.float16)
        for i in built.graph.initializer
        if i.name.endswith((".weight", ".bias"))
    }
    if model.startswith("yolov5"):
        weights["model.24.anchors"] = np.arange(1, 19, dtype=np.float16).reshape(3, 3, 2) / 4
    return weights


def outputs(path, shape):
    session = onnxruntime.InferenceSession(str(path))
    frame = np.random.default_rng(0).random(shape, np.float32)
    return session.run(None, {session.get_inputs()[0].name: frame})[0]


def test_yolov5s_at_640_has_the_published_output(tmp_path):
    done = export_onnx("yolov5s", tmp_path / "m.onnx", opset=11)
    assert done.output == ("output0", (1, 25200, 85)) and done.input == ("images", (1, 3, 640, 640))
    assert done.weights == "random, seed 0" and done.classes == 80 and done.opset == 11
    assert done.file_bytes == done.path.stat().st_size
    raw = outputs(done.path, (1, 3, 640, 640))
    assert raw.shape == (1, 25200, 85) and np.isfinite(raw).all()


@pytest.mark.parametrize(
    "model, head",
    [
        ("yolov5n", (1, 252, 8)),
        ("yolov8n", (1, 7, 84)),
        ("yolo11n", (1, 7, 84)),
        ("yolov10n", (1, 84, 6)),
        ("resnet18", (1, 3)),
    ],
)
@pytest.mark.parametrize("layout", ["write_zip", "write_legacy"])
def test_weights_classes_and_anchors_are_the_checkpoints(files, tmp_path, model, head, layout):
    weights, names = published_weights(model, 3), ["ant", "bee", "cow"]

    def on_gpu(array):
        return files.Array(array, device="cuda:3")

    if model == "resnet18":
        root = files.OrderedItems({name: on_gpu(array) for name, array in weights.items()})
    else:
        root = {"ema": None, "model": files.module_tree(weights, leaf=on_gpu, names=names), "epoch": -1}
    path = getattr(files, layout)(tmp_path / "w.pt", root)
    done = export_onnx(model, tmp_path / "m.onnx", path, **SMALL)
    assert done.classes == 3 and done.output[1] == head
    assert done.weights == ("w.pt (state_dict)" if model == "resnet18" else "w.pt (model)")

    expected = tmp_path / "expected.onnx"
    full = {name: array.astype(np.float32) for name, array in weights.items()}
    onnx.save(models.build(model, full, size=64, classes=names, opset=11), str(expected))
    shape = (1, 3, 64, 64)
    np.testing.assert_array_equal(outputs(done.path, shape), outputs(expected, shape))
    properties = {p.key: p.value for p in onnx.load(str(done.path)).metadata_props}
    assert list(ast.literal_eval(properties["names"]).values()) == (["0", "1", "2"] if model == "resnet18" else names)


# model -> convolution, its BatchNorm, input, stride, padding; eps is the framework's: torchvision keeps PyTorch's
# default, Ultralytics and YOLOX set 1e-3.
STEMS = {
    "resnet18": ("conv1", "bn1", "input", 2, 3, 1e-5),
    "yolov5n": ("model.0.conv", "model.0.bn", "images", 2, 2, 1e-3),
    "yolov8n": ("model.0.conv", "model.0.bn", "images", 2, 1, 1e-3),
}


@pytest.mark.parametrize("model", STEMS)
def test_batch_norm_is_applied_as_torch_applies_it(files, tmp_path, model):
    torch = pytest.importorskip("torch")
    conv, norm, entry, stride, padding, eps = STEMS[model]
    weights = published_weights(model, 4)
    rng, channels = np.random.default_rng(2), len(weights[f"{conv}.weight"])
    del weights[f"{conv}.bias"]
    ranges = {"weight": (0.5, 2), "bias": (-1, 1), "running_mean": (-1, 1), "running_var": (1e-3, 1e-2)}
    for part, (low, high) in ranges.items():  # variances so small that eps shows
        weights[f"{norm}.{part}"] = rng.uniform(low, high, channels).astype(np.float32)
    weights[f"{norm}.num_batches_tracked"] = np.array(7, np.int64)
    path = files.write_zip(tmp_path / "w.pth", {name: files.Array(array) for name, array in weights.items()})
    exported = onnx.load(str(export_onnx(model, tmp_path / "m.onnx", path, **SMALL).path))
    exported.graph.output.append(onnx.helper.make_empty_tensor_value_info(exported.graph.node[0].output[0]))
    frame = rng.random((1, 3, 64, 64), np.float32)
    ours = onnxruntime.InferenceSession(exported.SerializeToString()).run(None, {entry: frame})[1]
    stem = {name: torch.from_numpy(weights[name]).float() for name in weights if name.startswith((conv, norm))}
    theirs = torch.nn.functional.batch_norm(
        torch.nn.functional.conv2d(torch.from_numpy(frame), stem[f"{conv}.weight"], stride=stride, padding=padding),
        *(stem[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")),
        eps=eps,
    )
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-4, atol=2e-4)


def test_every_published_model_is_recognized_by_its_weights():
    for model in models.available():
        if model.endswith(("n", "s", "nano", "tiny", "18")):  # the others differ in width only
            assert recognize(published_weights(model, None)) == model


def test_another_networks_weights_are_named(files, tmp_path):
    weights = published_weights("yolov5n", 3)
    path = files.write_zip(tmp_path / "w.pt", {"model": files.module_tree(weights)})
    for wanted in ("yolov5s", "yolov8n", "resnet18", "yolox_s"):
        with pytest.raises(ModelError, match=f"yolov5n weights, not {wanted}; run `tvm-zerocopy export yolov5n`"):
            export_onnx(wanted, tmp_path / "m.onnx", path, **SMALL)
    old = {"model.0.conv.conv.weight": np.zeros((32, 12, 3, 3), np.float16)}
    path = files.write_zip(tmp_path / "w.pt", {"model": files.module_tree(old)})
    with pytest.raises(ModelError, match="before release 6.0"):
        export_onnx("yolov5s", tmp_path / "m.onnx", path, **SMALL)
    assert not (tmp_path / "m.onnx").exists()


def test_missing_extra_and_misshapen_entries_are_named(files, tmp_path):
    good = published_weights("yolov5n", 3)
    part = "model.9.cv2.conv.weight"
    for change, message in (
        ({part: None}, f"no entry '{part}'"),
        ({part: good[part][:-1]}, f"'{part}' has shape"),
        ({"model.99.weight": np.ones(3, np.float16)}, "no place for, the first is 'model.99.weight'"),
    ):
        weights = {name: array for name, array in {**good, **change}.items() if array is not None}
        path = files.write_zip(tmp_path / "w.pt", {"model": files.module_tree(weights)})
        with pytest.raises(ModelError, match=message) as caught:
            export_onnx("yolov5n", tmp_path / "m.onnx", path, **SMALL)
        assert "w.pt" in str(caught.value)


@pytest.mark.parametrize("value, message", [(np.nan, "NaN or infinite"), (np.inf, "NaN or infinite"), (-1, "negative")])
def test_weights_that_make_no_numbers_are_refused(files, tmp_path, value, message):
    entry = "model.9.cv2.bn.running_var"
    weights = {**published_weights("yolov5n", 3), entry: np.array([1, 1, value], np.float16)}
    path = files.write_zip(tmp_path / "w.pt", {"model": files.module_tree(weights)})
    with pytest.raises(ModelError, match=f"{message}.*{entry}"):
        export_onnx("yolov5n", tmp_path / "m.onnx", path, **SMALL)
    assert not (tmp_path / "m.onnx").exists()


def test_names_that_contradict_the_head_are_refused(files, tmp_path):
    model = files.module_tree(published_weights("yolov5n", 3), names=["a", "b"])
    with pytest.raises(ModelError, match="names 2 classes but its head predicts 3"):
        export_onnx("yolov5n", tmp_path / "m.onnx", files.write_zip(tmp_path / "w.pt", model), **SMALL)


def test_a_failed_export_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "m.onnx"
    path.write_bytes(b"old")
    with pytest.raises(ModelError, match="opset"):
        export_onnx("yolov5n", path, opset=7)
    with pytest.raises(ModelError, match="multiples of 32"):
        export_onnx("yolov5n", path, size=100)
    with pytest.raises(ModelError, match="no model 'yolov9z'"):
        export_onnx("yolov9z", path)
    with pytest.raises(ModelError, match="directory that exists"):
        export_onnx("yolov5n", tmp_path / "no" / "m.onnx")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(ModelError, match="No space left"):
        export_onnx("yolov5n", path, **SMALL)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_download_is_read_like_any_file_and_fails_in_one_line(files, tmp_path, monkeypatch):
    torch_hub = pytest.importorskip("torch.hub")
    monkeypatch.setattr(torch_hub, "get_dir", lambda: str(tmp_path / "cache"))
    published = files.write_zip(tmp_path / "yolov5n.pt", {"model": files.module_tree(published_weights("yolov5n", 3))})
    monkeypatch.setattr("tvm_zerocopy.checkpoints.hub._ADDRESSES", {"yolov5": f"file://{tmp_path}/{{model}}.pt"})
    path = download("yolov5n")
    assert path.read_bytes() == published.read_bytes() and path.parent.name == "checkpoints"
    published.unlink()
    assert download("yolov5n") == path  # from the cache
    with pytest.raises(UnsupportedError, match="cannot fetch file:.*yolov5s.pt .*--weights"):
        download("yolov5s")
    with pytest.raises(ModelError, match="no published checkpoint"):
        download("other")
    monkeypatch.setitem(sys.modules, "torch.hub", None)
    with pytest.raises(UnsupportedError, match="pip install torch"):
        download("yolov5s")
