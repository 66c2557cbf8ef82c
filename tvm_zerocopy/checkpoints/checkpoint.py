"""A published checkpoint's weights and class names, found wherever its format keeps them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Optional, Tuple

import numpy as np

from ..class_names import parse_names
from ..errors import ModelError
from .pickled import Record
from .tensors import Tensor
from .torch_file import read_torch_file

_MOST_MODULES = 20_000  # yolov8x has 400; a file in which modules hold each other would never end

_WRAPPER = "module."  # (Distributed)DataParallel's name of the model inside


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint holds.

    Attributes
    ----------
    weights : dict of str to array
        As ``state_dict()``: parameters and persistent buffers; floating point as float32.
    class_names : tuple of str, or None
        In the order of class indices; None where the file has none (a bare state dict).
    part : str
        Which part of the file was taken: "ema", "model" or "state_dict".
    """

    weights: Dict[str, np.ndarray]
    class_names: Optional[Tuple[str, ...]]
    part: str


def load_checkpoint(path: Path) -> Checkpoint:
    """Read an Ultralytics checkpoint (YOLOv5, YOLOv8 and later) or a state dict (torchvision, YOLOX).

    Of a training checkpoint the moving average (``ema``) is taken where there is one, as Ultralytics' loader does.

    Raises
    ------
    ModelError
        If the file cannot be read (see ``read_torch_file``) or holds no weights.
    """
    root = read_torch_file(path)
    found = _model_in(root)
    if found is None:
        raise ModelError(f"{path} holds no weights: {_what(root)}; give a model's checkpoint or its state_dict()")
    part, model = found
    if isinstance(model, Record):
        weights = _state_dict(model, path)
        names = _class_names(model.state.get("names"))
    else:
        weights, names = model, None
    if not weights:
        raise ModelError(f"the {part} in {path} has no weights; give a model's checkpoint or its state_dict()")
    wrapped = all(name.startswith(_WRAPPER) for name in weights)
    start = len(_WRAPPER) if wrapped else 0
    return Checkpoint({name[start:]: _array(tensor) for name, tensor in weights.items()}, names, part)


def _model_in(root: Any) -> Optional[Tuple[str, Any]]:
    if isinstance(root, Record):
        return "model", root
    if not isinstance(root, dict):
        return None
    if _is_state_dict(root):
        return "state_dict", root
    for part in ("ema", "model", "state_dict", "model_state_dict"):
        value = root.get(part)
        if isinstance(value, Record):
            return part, value
        if isinstance(value, dict) and _is_state_dict(value):
            return part, value
    return None


def _is_state_dict(value: Dict) -> bool:
    return bool(value) and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in value.items())


def _state_dict(model: Record, path: Path) -> Dict[str, Tensor]:
    """Parameters and persistent buffers of a pickled ``torch.nn.Module``, named as ``state_dict()`` names them."""
    weights: Dict[str, Tensor] = {}
    pending, visited = [("", model)], 0
    while pending:
        prefix, module = pending.pop()
        visited += 1
        if visited > _MOST_MODULES:
            raise ModelError(f"{path} has modules that hold each other; it is damaged or no model")
        transient = _part(module, "_non_persistent_buffers_set", list)
        for section in ("_parameters", "_buffers"):
            for name, value in _part(module, section, dict).items():
                if isinstance(value, Tensor) and not (section == "_buffers" and name in transient):
                    weights[f"{prefix}{name}"] = value
        children = [(f"{prefix}{k}.", v) for k, v in _part(module, "_modules", dict).items() if isinstance(v, Record)]
        pending.extend(reversed(children))
    return weights


def _part(module: Record, name: str, kind: type) -> Any:
    value = module.state.get(name)
    return value if isinstance(value, kind) else kind()


def _class_names(names: Any) -> Optional[Tuple[str, ...]]:
    try:
        return parse_names(names)
    except (ValueError, RecursionError):  # ModelError is a ValueError; so is a number too long to print
        return None


def _array(tensor: Tensor) -> np.ndarray:
    array = tensor.numpy()
    return array.astype(np.float32) if array.dtype.kind == "f" else array


def _what(root: Any) -> str:
    if isinstance(root, dict):
        keys = ", ".join(sorted(k for k in root if isinstance(k, str) and k.isprintable())[:6])
        return f"a dictionary with {keys[:200]}" if keys else "a dictionary without names"
    return f"a {type(root).__name__}"
