"""Files as ``torch.save`` writes them, files as an attacker or a bad line leaves them."""

import os
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from tvm_zerocopy.checkpoints.tensors import Tensor
from tvm_zerocopy.checkpoints.torch_file import read_torch_file
from tvm_zerocopy.errors import ModelError

DTYPES = [np.float16, np.float32, np.float64, np.int64, np.uint8, np.bool_]
ARRAYS = hnp.arrays(st.sampled_from(DTYPES), hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
same_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)


@pytest.mark.parametrize("layout", ["write_zip", "write_legacy"])
@same_folder
@given(arrays=st.lists(ARRAYS, max_size=4), device=st.sampled_from(["cpu", "cuda:0", "cuda:7", "mps", "nowhere"]))
def test_arrays_come_back_whatever_device_they_were_saved_from(files, tmp_path, layout, arrays, device):
    root = {str(i): files.Array(a, device) for i, a in enumerate(arrays)}
    found = read_torch_file(getattr(files, layout)(tmp_path / "w.pt", root))
    for i, array in enumerate(arrays):
        read = found[str(i)].numpy()
        assert read.dtype == array.dtype and read.shape == array.shape
        assert read.tobytes() == np.ascontiguousarray(array).tobytes()


def test_bfloat16_comes_as_float32(files, tmp_path):
    values = np.array([1.0, -2.5, 3e38, 0.0], np.float32)
    halves = (values.view(np.uint32) >> 16).astype(np.uint16).view(np.float16)
    path = files.write_zip(tmp_path / "w.pt", files.Array(halves, storage_class="BFloat16Storage"))
    read = read_torch_file(path).numpy()
    np.testing.assert_array_equal(read, (values.view(np.uint32) >> 16 << 16).view(np.float32))


def view_file(files, path, offset, shape, strides, stored):
    """A checkpoint of one tensor whose view of its storage is as given."""
    writer = files.Writer()
    kind = files.Class("torch", "FloatStorage")
    writer.out.write(b"\x80\x02")
    writer.put_storage_view(("storage", kind, "0", "cpu", stored.size), offset, shape, strides)
    writer.out.write(b".")
    return files.write_zip(path, pickled=writer.out.getvalue(), storages=[stored])


@pytest.mark.parametrize("place", range(5))
def test_nonsense_in_a_reference_is_refused_whatever_its_depth_and_size(files, tmp_path, place):
    deep = b"K\x01" + b"\x85" * 5000  # a tuple in a tuple in a tuple ...
    huge = b"\x8b" + (20000).to_bytes(4, "little") + b"\x7f" * 20000  # a number of 48,000 digits
    for nonsense in (deep, huge):
        parts = [b"X\x07\0\0\0storage", b"ctorch\nFloatStorage\n", b"X\x01\0\0\x000", b"X\x03\0\0\0cpu", b"K\x01"]
        parts[place] = nonsense
        reference = b"(" + b"".join(parts) + b"tQ"
        pickled = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(" + reference + b"K\0))tR."  # offset, shape, strides
        path = files.write_zip(tmp_path / "w.pt", pickled=pickled, storages=[np.ones(1, np.float32)])
        if place == 3:  # the device is not looked at
            assert read_torch_file(path).numpy() == 1
            continue
        with pytest.raises(ModelError) as caught:
            read_torch_file(path)
        assert len(str(caught.value)) < 600


@same_folder
@given(
    shape=st.lists(st.integers(0, 6), max_size=3),
    strides=st.lists(st.integers(-3, 40), min_size=3, max_size=3),
    offset=st.integers(-3, 30),
)
def test_a_view_never_reaches_beyond_its_storage(files, tmp_path, shape, strides, offset):
    stored = np.arange(24, dtype=np.float32)
    strides = strides[: len(shape)]
    path = view_file(files, tmp_path / "w.pt", offset, shape, strides, stored)
    cells = [offset + sum(i * s for i, s in zip(index, strides)) for index in np.ndindex(*shape)]
    inside = all(0 <= c < 24 for c in cells) and min([offset, *strides]) >= 0 and len(cells) <= 24
    if cells and not inside:
        with pytest.raises(ModelError):
            read_torch_file(path)
    elif cells:
        assert read_torch_file(path).numpy().ravel().tolist() == cells


def test_a_broadcast_that_would_fill_memory_is_refused(files, tmp_path):
    path = view_file(files, tmp_path / "w.pt", 0, (2**20, 2**20, 2**20), (0, 0, 0), np.zeros(4, np.float32))
    with pytest.raises(ModelError, match="reaches beyond"):
        read_torch_file(path)


def test_storage_shorter_than_its_tensor_is_named(files, tmp_path):
    writer = files.Writer()
    pickled = writer.dump({"a": files.Array(np.zeros(100, np.float32))})
    path = files.write_zip(tmp_path / "w.pt", pickled=pickled, storages=[np.zeros(99, np.float32)])
    with pytest.raises(ModelError, match="tensor data 0 is missing or short"):
        read_torch_file(path)


@pytest.mark.parametrize("layout", ["write_zip", "write_legacy"])
@same_folder
@given(data=st.data())
def test_cut_and_damaged_files_are_read_or_refused(files, tmp_path, layout, data):
    root = {"model": {"w": files.Array(np.arange(50, dtype=np.float32)), "n": "x" * 30}}
    whole = getattr(files, layout)(tmp_path / "whole.pt", root).read_bytes()
    position = data.draw(st.integers(0, len(whole) - 1))
    damaged = bytearray(whole)
    damaged[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path / "damaged.pt"
    path.write_bytes(damaged)
    try:
        read_torch_file(path)
    except ModelError as error:
        assert "damaged.pt" in str(error) and "\n" not in str(error)
    path.write_bytes(whole[:position])
    with pytest.raises(ModelError):
        read_torch_file(path)


def test_a_call_inside_a_checkpoint_is_refused_and_not_made(files, tmp_path):
    flag = tmp_path / "flag"
    call = files.Call(files.Class("posix", "system"), (f"touch {flag}",))
    state = {"weight": files.Array(np.zeros(3, np.float32)), "extra": call}
    for root in (call, {"model": files.Object(files.Class("models.yolo", "Model"), state)}, {"names": {0: [call]}}):
        for write in (files.write_zip, files.write_legacy):
            with pytest.raises(ModelError, match="posix.system"):
                read_torch_file(write(tmp_path / "w.pt", root))
    assert not flag.exists()


def test_kinds_of_tensors_that_are_not_read_are_named(files, tmp_path):
    quantized = files.Call(files.Class("torch._utils", "_rebuild_qtensor"), (1, 2))
    with pytest.raises(ModelError, match="made by torch._utils._rebuild_qtensor, .* float32 or float16"):
        read_torch_file(files.write_zip(tmp_path / "w.pt", {"w": quantized}))
    packed = files.Array(np.zeros(4, np.uint8), storage_class="QInt8Storage")
    with pytest.raises(ModelError, match="holds a storage of torch.QInt8Storage, .* float32 or float16"):
        read_torch_file(files.write_zip(tmp_path / "w.pt", {"w": packed}))


def test_compressed_and_overlapping_entries_are_refused(files, tmp_path):
    zeros = files.Array(np.zeros(2**22, np.float32))
    path = files.write_zip(tmp_path / "bomb.pt", {"a": zeros}, compression=zipfile.ZIP_DEFLATED)
    assert os.path.getsize(path) < 100_000
    with pytest.raises(ModelError, match="compressed or overlapping"):
        read_torch_file(path)

    path = files.write_zip(tmp_path / "overlap.pt", {str(i): files.Array(np.zeros(999, np.float32)) for i in range(9)})
    with zipfile.ZipFile(path) as archive:
        first = archive.getinfo("archive/data/0").header_offset
    data = bytearray(path.read_bytes())
    directory = data.index(b"PK\x01\x02")
    for entry in range(9):  # all storages in the bytes of the first, and the file cut to fit
        at = data.index(f"archive/data/{entry}".encode(), directory) - 46
        data[at + 42 : at + 46] = struct.pack("<I", first)
    end = data.index(b"PK\x05\x06")
    kept = first + 4200
    data[end + 16 : end + 20] = struct.pack("<I", kept)
    path.write_bytes(data[:kept] + data[directory:])
    with pytest.raises(ModelError, match="compressed or overlapping"):
        read_torch_file(path)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "is empty"),
        (b"hello", "neither zip nor pickle"),
        (b"<!DOCTYPE html><html>404", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\x08\x08\x12\x07pytorch", "ONNX model already"),
        (b"PK\x03\x04" + b"\0" * 100, "cut off"),
        (b"\x80\x02K\x01.", "none that torch.save wrote"),
        (b"\x80\x02", "damaged"),
    ],
)
def test_what_is_no_checkpoint_is_said_to_be_what_it_is(tmp_path, content, message):
    path = tmp_path / "w.pt"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=message):
        read_torch_file(path)


def test_zip_files_of_other_kinds_and_missing_files(tmp_path):
    for name, message in (("code/constants.pkl", "TorchScript"), ("some/thing.txt", "no data.pkl")):
        with zipfile.ZipFile(tmp_path / "w.pt", "w") as archive:
            archive.writestr(name, "x")
        with pytest.raises(ModelError, match=message):
            read_torch_file(tmp_path / "w.pt")
    with pytest.raises(ModelError, match="No such file"):
        read_torch_file(tmp_path / "none.pt")
    with pytest.raises(ModelError, match="directory"):
        read_torch_file(tmp_path)


def test_what_torch_itself_writes_is_read(tmp_path):
    torch = pytest.importorskip("torch")
    base = torch.arange(60, dtype=torch.float32).reshape(5, 12)
    root = {
        "half": base.half(),
        "bfloat16": base.bfloat16(),
        "transposed": base.t(),
        "part": base[1:4, 2:9:3],
        "scalar": torch.tensor(7),
        "flags": base > 3,
        "parameter": torch.nn.Parameter(base[0]),
        "empty": torch.zeros(0, 3),
    }
    for is_zip in (True, False):
        torch.save(root, tmp_path / "w.pt", _use_new_zipfile_serialization=is_zip)
        found = read_torch_file(tmp_path / "w.pt")
        assert set(found) == set(root)
        for name, tensor in root.items():
            assert isinstance(found[name], Tensor)
            expected = tensor.detach().float() if tensor.is_floating_point() else tensor
            np.testing.assert_array_equal(found[name].numpy(), expected.numpy(), err_msg=name)
