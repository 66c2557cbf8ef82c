"""Reading an ONNX file: whatever is wrong with it becomes one clear ModelError."""

import os
from pathlib import Path
from typing import Optional, Tuple

import onnx
from google.protobuf.message import DecodeError

from .errors import ModelError

_EXPORT = "make one with tvm-zerocopy export MODEL --weights FILE"
# First bytes of files that people give by mistake -> what to tell them.
_FOREIGN = (
    (b"PK\x03\x04", f"a PyTorch checkpoint or zip archive, not an ONNX model; {_EXPORT}"),
    (b"\x80\x02", f"a Python pickle (an old PyTorch checkpoint?), not an ONNX model; {_EXPORT}"),
    (b"\x7fELF", "a compiled library, not an ONNX model; tvm_zerocopy.load reads compiled artifacts"),
)


def read_onnx(path) -> onnx.ModelProto:
    """The model in a file, external data included.

    Raises
    ------
    ModelError
        If the file is missing, unreadable, empty, cut short, not ONNX, or lacks its external data.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise ModelError(f"{path} is a directory; give the .onnx file")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}; give the path of an ONNX model") from None
    if not data:
        raise ModelError(f"{path} is empty; give the path of an ONNX model")
    for magic, what in _FOREIGN:
        if data.startswith(magic):
            raise ModelError(f"{path} is {what}")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError:
        missing = _truncated(data)
        if missing is not None:
            needed, have = missing
            raise ModelError(
                f"{path} is a truncated ONNX model: it needs at least {needed:,} bytes and has {have:,}; "
                "copy or download it again"
            ) from None
        raise ModelError(f"{path} is not an ONNX model; give a file written by an ONNX exporter") from None
    if not model.ir_version or not model.HasField("graph"):
        raise ModelError(f"{path} is not an ONNX model, or is cut short before its graph")
    if not model.graph.node:
        raise ModelError(f"{path}: the ONNX graph has no nodes; the file is cut short or was exported wrongly")
    _load_external_data(model, path)
    return model


def _load_external_data(model: onnx.ModelProto, path: Path) -> None:
    folder = os.path.dirname(os.path.abspath(path))
    wanted = set()
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            wanted.update(entry.value for entry in tensor.external_data if entry.key == "location")
    missing = sorted(name for name in wanted if not os.path.isfile(os.path.join(folder, name)))
    if missing:
        raise ModelError(
            f"{path} keeps its weights in {', '.join(missing)}, which is not beside it; put it into {folder}"
        )
    if wanted:
        try:
            onnx.load_external_data_for_model(model, folder)
        except Exception as error:  # onnx raises bare C++ and ValueError exceptions of many kinds here
            raise ModelError(f"{path}: its external weights cannot be read ({_first_line(error)})") from None


def _truncated(data: bytes) -> Optional[Tuple[int, int]]:
    """(bytes needed, bytes there) if the file is a ModelProto whose last field runs past its end, else None.

    Walks the fields of the outermost message (https://protobuf.dev/programming-guides/encoding): ModelProto starts
    with ir_version, field 1 as a varint.
    """
    if data[:1] != b"\x08":
        return None
    at, fields = 0, 0
    while at < len(data):
        tag, at = _varint(data, at)
        if tag is None:
            return len(data) + 1, len(data)
        number, wire = tag >> 3, tag & 7
        if not 1 <= number <= 64 or wire not in (0, 1, 2, 5):
            return None
        if wire == 0:
            value, at = _varint(data, at)
            at = len(data) + 1 if value is None else at
        elif wire == 2:
            length, at = _varint(data, at)
            at = len(data) + 1 if length is None else at + length
        else:
            at += 8 if wire == 1 else 4
        fields += 1
    return (at, len(data)) if at > len(data) and fields > 1 else None


def _varint(data: bytes, at: int) -> Tuple[Optional[int], int]:
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
    return None, at


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
