"""A published network with a checkpoint's weights (or random ones) as an ONNX file."""

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Tuple, Union

import onnx

from .. import models
from ..class_names import names_from_metadata
from ..errors import ModelError
from .checkpoint import load_checkpoint
from .recognize import check_fits, check_numbers, class_count


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes
    ----------
    path : Path
    model : str
    weights : str
        "random, seed 0" or the checkpoint's file name and the part of it that was taken.
    opset : int
    classes : int
    input, output : tuple
        Name and shape.
    file_bytes : int
    """

    path: Path
    model: str
    weights: str
    opset: int
    classes: int
    input: Tuple[str, Tuple[int, ...]]
    output: Tuple[str, Tuple[int, ...]]
    file_bytes: int


def export_onnx(
    model: str,
    output: Optional[Path] = None,
    weights: Optional[Path] = None,
    size: Union[None, int, Tuple[int, int]] = None,
    opset: int = 11,
    seed: int = 0,
    batch: int = 1,
) -> Exported:
    """Write ``model`` as ONNX; PyTorch is not needed, and weights saved from a GPU are the same as any others.

    Parameters
    ----------
    model : str
        One of ``tvm_zerocopy.models.available()``.
    output : Path
        None: ``<model>.onnx`` in the current directory. Written whole or not at all.
    weights : Path
        An official checkpoint (or one trained with the same code); class names and anchors are the checkpoint's.
        None: random weights from ``seed``.
    size : int or (height, width)
        Input pixels, multiples of 32; None: the model's own (640; ResNet 224).
    opset, batch : int

    Raises
    ------
    ModelError
        If there is no such model, the checkpoint cannot be read, is another network's or holds NaN, a parameter is out
        of range, or the file cannot be written.
    """
    if model not in models.available():
        raise ModelError(f"there is no model {model!r}; there are {', '.join(models.available())}")
    path = Path(output or f"{model}.onnx")
    if not path.parent.is_dir() or path.is_dir():
        raise ModelError(f"cannot write {path}: give a file name in a directory that exists")
    arrays, classes, origin = None, None, f"random, seed {seed}"
    if weights is not None:
        checkpoint = load_checkpoint(weights)
        check_fits(model, checkpoint.weights, str(weights))
        check_numbers(checkpoint.weights, str(weights))
        arrays, classes = checkpoint.weights, class_count(checkpoint.weights)
        names = checkpoint.class_names
        if names is not None and classes is not None and len(names) != classes:
            raise ModelError(f"{weights} names {len(names)} classes but its head predicts {classes}; it is damaged")
        classes = names or classes
        origin = f"{Path(weights).name} ({checkpoint.part})"
    try:
        built = models.build(model, arrays, size=size, classes=classes, opset=opset, seed=seed, batch=batch)
    except ModelError as error:
        if weights is None:
            raise
        raise ModelError(f"{weights} does not make a {model}: {error}") from error
    data = built.SerializeToString()
    _write(path, data)
    (source,), (result,) = built.graph.input, built.graph.output
    return Exported(
        path=path,
        model=model,
        weights=origin,
        opset=built.opset_import[0].version,
        classes=len(_names(built)),
        input=(source.name, _shape(source)),
        output=(result.name, _shape(result)),
        file_bytes=len(data),
    )


def _shape(value: onnx.ValueInfoProto) -> Tuple[int, ...]:
    return tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)


def _names(model: onnx.ModelProto) -> Tuple[str, ...]:
    return names_from_metadata({prop.key: prop.value for prop in model.metadata_props}["names"])


def _write(path: Path, data: bytes) -> None:
    partial = None
    try:
        handle, partial = tempfile.mkstemp(prefix=path.name + ".", dir=str(path.parent))
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.chmod(partial, 0o666 & ~_umask())  # mkstemp's 0600 would hide the model from others
        os.replace(partial, str(path))
    except OSError as error:
        if partial is not None and os.path.exists(partial):
            os.unlink(partial)
        raise ModelError(f"cannot write {path}: {error.strerror or error}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
