"""Weights and class names out of checkpoints as Ultralytics' and torchvision's code saves them."""

import numpy as np
import pytest

from tvm_zerocopy.checkpoints import load_checkpoint
from tvm_zerocopy.errors import ModelError

RNG = np.random.default_rng(0)
WEIGHTS = {
    "model.0.conv.weight": RNG.standard_normal((4, 3, 2, 2)).astype(np.float16),
    "model.0.bn.running_mean": RNG.standard_normal(4).astype(np.float16),
    "model.0.bn.num_batches_tracked": np.array(5, np.int64),
    "model.24.anchors": RNG.standard_normal((3, 3, 2)).astype(np.float16),
}


def test_a_pickled_model_gives_its_state_dict_in_float32(files, tmp_path):
    model = files.module_tree(WEIGHTS, names=["cat", "dog"])
    found = load_checkpoint(files.write_zip(tmp_path / "w.pt", {"epoch": -1, "ema": None, "model": model}))
    assert (found.part, found.class_names) == ("model", ("cat", "dog"))
    assert set(found.weights) == set(WEIGHTS)
    for name, array in WEIGHTS.items():
        np.testing.assert_array_equal(found.weights[name], array)
        assert found.weights[name].dtype == (np.float32 if array.dtype.kind == "f" else np.int64)


@pytest.mark.parametrize("names", [None, [], ["a", None], {1: "a"}, {"x": "a"}, [10**5000], {10**5000: "a"}, 7])
def test_names_that_are_no_class_names_are_none(files, tmp_path, names):
    model = files.module_tree(WEIGHTS, names=names)
    assert load_checkpoint(files.write_zip(tmp_path / "w.pt", {"model": model})).class_names is None


def test_the_moving_average_is_taken_where_there_is_one(files, tmp_path):
    newer = {name: array + 1 for name, array in WEIGHTS.items()}
    root = {
        "model": files.module_tree(WEIGHTS, names={0: "a"}),
        "ema": files.module_tree(newer, names={1: "b", 0: "a"}),
    }
    found = load_checkpoint(files.write_zip(tmp_path / "w.pt", root))
    assert (found.part, found.class_names) == ("ema", ("a", "b"))
    np.testing.assert_array_equal(found.weights["model.24.anchors"], newer["model.24.anchors"])


@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: {"model": d, "epoch": 3}, lambda d: {"state_dict": d}])
def test_bare_state_dicts_are_found(files, tmp_path, wrap):
    root = wrap(files.OrderedItems({name: files.Array(array) for name, array in WEIGHTS.items()}))
    for write in (files.write_zip, files.write_legacy):
        found = load_checkpoint(write(tmp_path / "w.pth", root))
        assert set(found.weights) == set(WEIGHTS) and found.class_names is None


def test_a_state_dict_of_data_parallel_training_loses_its_wrapper(files, tmp_path):
    root = files.OrderedItems({f"module.{name}": files.Array(array) for name, array in WEIGHTS.items()})
    assert set(load_checkpoint(files.write_zip(tmp_path / "w.pth", root)).weights) == set(WEIGHTS)


def test_buffers_that_are_not_saved_in_a_state_dict_are_left_out(files, tmp_path):
    buffers = {"kept": files.Array(np.ones(2, np.float32)), "grid": files.Array(np.ones(2, np.float32)), "none": None}
    model = files.module("models.yolo.Detect", buffers=buffers, transient=["grid"])
    assert set(load_checkpoint(files.write_zip(tmp_path / "w.pt", model)).weights) == {"kept"}


def test_what_holds_no_weights_is_said_to_hold_none(files, tmp_path):
    for root, message in (
        ({"epoch": 3, "note": "x"}, "holds no weights: a dictionary with epoch, note"),
        ([1, 2], "holds no weights: a list"),
        ({}, "a dictionary without names"),
        ({"model": files.module("models.yolo.Model")}, "the model in .* has no weights"),
    ):
        with pytest.raises(ModelError, match=message):
            load_checkpoint(files.write_zip(tmp_path / "w.pt", root))


def test_modules_that_hold_each_other_end_in_an_error(files, tmp_path):
    # a module that is its own child: memoized, then put into its own _modules
    cyclic = b"\x80\x02cm\nC\n)\x81q\x00}U\x08_modules}U\x01ah\x00sU\x01bh\x00ssb."
    with pytest.raises(ModelError, match="hold each other"):
        load_checkpoint(files.write_zip(tmp_path / "w.pt", pickled=cyclic))


def test_modules_saved_by_torch_give_torchs_state_dict(tmp_path):
    torch = pytest.importorskip("torch")
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Sequential(torch.nn.Linear(4, 2, bias=False))
    )
    model.register_buffer("transient", torch.ones(3), persistent=False)
    model.names = {0: "a", 1: "b"}
    for is_zip in (True, False):
        torch.save({"ema": model.half()}, tmp_path / "w.pt", _use_new_zipfile_serialization=is_zip)
        found = load_checkpoint(tmp_path / "w.pt")
        expected = {name: tensor.float().numpy() for name, tensor in model.state_dict().items()}
        assert list(found.weights) == list(expected) and found.class_names == ("a", "b")
        for name, array in expected.items():
            np.testing.assert_array_equal(found.weights[name], array)
