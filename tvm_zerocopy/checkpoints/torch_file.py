"""Reads what ``torch.save`` wrote, without PyTorch and without running anything that the file holds."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import ModelError
from .pickled import load_pickle
from .tensors import CONSTRUCTORS, Storages

_ZIP_MAGIC = b"PK\x03\x04"
_PICKLE_MAGIC = b"\x80"
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, MAGIC_NUMBER
_LEGACY_VERSION = 1001

# How files begin that are mistaken for checkpoints, and what they are.
_STRANGERS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run `git lfs pull`"),
    (b"<!DOCTYPE", "a web page, not a checkpoint; the download failed"),
    (b"<html", "a web page, not a checkpoint; the download failed"),
    (b"\x08", "an ONNX model already, not a PyTorch checkpoint"),
    (b"\x7fELF", "a program or shared library, not a PyTorch checkpoint"),
)


def read_torch_file(path: Path) -> Any:
    """The object in a ``.pt`` or ``.pth`` file, zip (PyTorch 1.6 and later) or legacy format.

    Returns
    -------
    object
        As ``load_pickle``; tensors are ``Tensor``, ready for ``numpy()``.

    Raises
    ------
    ModelError
        If the file is missing, cut off, damaged, of another kind, or asks for code to be run.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            file.seek(0)
            if head.startswith(_ZIP_MAGIC):
                return _read_zip(file, path)
            if head.startswith(_PICKLE_MAGIC):
                return _read_legacy(io.BytesIO(file.read()), path)
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror or error}") from error
    if not head:
        raise ModelError(f"{path} is empty; fetch it again")
    what = next((text for start, text in _STRANGERS if head.startswith(start)), None)
    raise ModelError(f"{path} is {what or 'no PyTorch checkpoint: neither zip nor pickle; give a .pt or .pth file'}")


# what zipfile raises on damaged archives; NotImplementedError where a flag or version became one that it does not know
_ZIP_DAMAGE = (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, struct.error)


def _read_zip(file: BinaryIO, path: Path) -> Any:
    file_bytes = file.seek(0, io.SEEK_END)
    try:
        archive = zipfile.ZipFile(file)
    except (*_ZIP_DAMAGE, OverflowError) as error:
        raise ModelError(f"{path} is cut off or damaged: its zip directory is missing; fetch it again") from error
    with archive:
        entries = {info.filename: info for info in archive.infolist()}
        pickles = [name for name in entries if name.count("/") == 1 and name.endswith("/data.pkl")]
        if any(name.endswith("/constants.pkl") for name in entries):
            raise ModelError(f"{path} is a TorchScript program; give the checkpoint that it was made from")
        if len(pickles) != 1:
            raise ModelError(f"{path} is a zip file, but no PyTorch checkpoint: it has no data.pkl")
        # PyTorch never compresses. Stored entries cannot hold more than the file, so no size here can be a trap.
        compressed = [info.filename for info in entries.values() if info.compress_type != zipfile.ZIP_STORED]
        if compressed or sum(info.file_size for info in archive.infolist()) > file_bytes:
            raise ModelError(
                f"{path} has compressed or overlapping entries, which PyTorch never writes; save it with torch.save"
            )
        root = pickles[0][: -len("data.pkl")]
        try:
            if root + "byteorder" in entries and archive.read(root + "byteorder") != b"little":
                raise ModelError(f"{path} was saved on a big-endian machine; save it again on a little-endian one")
            storages = Storages()
            stream = io.BytesIO(archive.read(pickles[0]))
            result = load_pickle(stream, str(path), CONSTRUCTORS, storages.resolve)
            for storage in storages.by_key.values():
                name = f"{root}data/{storage.key}"
                if name not in entries or entries[name].file_size < storage.nbytes:
                    raise ModelError(
                        f"{path} is damaged: tensor data {storage.key} is missing or short; fetch it again"
                    )
                storage.data = archive.read(name)
        except (*_ZIP_DAMAGE, RuntimeError) as error:
            if isinstance(error, ModelError):
                raise
            raise ModelError(f"{path} is damaged ({error}); fetch it again") from error
    return result


def _read_legacy(file: BinaryIO, path: Path) -> Any:
    """Five pickles (magic, version, machine, object, storage keys), then each storage: count as int64, elements."""
    source = str(path)
    if load_pickle(file, source) != _LEGACY_MAGIC:
        raise ModelError(f"{path} is a pickle, but none that torch.save wrote; save the model with torch.save")
    version, machine = load_pickle(file, source), load_pickle(file, source)
    if version != _LEGACY_VERSION or not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise ModelError(f"{path} has an unknown variant of PyTorch's legacy format; save it again with torch.save")
    storages = Storages()
    result = load_pickle(file, source, CONSTRUCTORS, storages.resolve)
    keys = load_pickle(file, source)
    for key in keys if isinstance(keys, list) else ():
        storage = storages.by_key.get(key) if isinstance(key, str) else None
        header = file.read(8)
        count = struct.unpack("<q", header)[0] if len(header) == 8 else -1
        if storage is None or count != storage.count:
            raise ModelError(f"{path} is cut off or damaged at tensor data {key!r}; fetch it again")
        storage.data = file.read(storage.nbytes)
    for storage in storages.by_key.values():
        if storage.data is None or len(storage.data) != storage.nbytes:
            raise ModelError(f"{path} is cut off or damaged at tensor data {storage.key!r}; fetch it again")
    return result
