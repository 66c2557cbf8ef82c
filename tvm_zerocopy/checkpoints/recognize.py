"""Which published network a state dict belongs to, and for how many classes, by the names and shapes of its entries."""

from typing import Dict, Optional

import numpy as np

from ..errors import ModelError

_STEM = "model.0.conv.weight"
_LETTERS = {0.25: "n", 0.5: "s", 0.75: "m", 1.0: "l", 1.25: "x"}  # width multiple -> suffix, YOLOv5 and YOLOv8 alike
_YOLO11_NAMES = {16: "yolo11n", 32: "yolo11s", 96: "yolo11x"}
_YOLOV10_NAMES = {16: "yolov10n", 32: "yolov10s"}
_YOLOX_STEM = "backbone.backbone.stem.conv.conv.weight"
_YOLOX_NAMES = {16: "yolox_nano", 24: "yolox_tiny", 32: "yolox_s", 48: "yolox_m", 64: "yolox_l", 80: "yolox_x"}

# An entry that only networks we do not build have -> what they are called.
_OTHERS = {
    "model.0.conv.conv.weight": "YOLOv5 from before release 6.0 (Focus stem)",
    "model.24.cv3.0.0.conv.weight": "YOLOv5u (anchor-free head)",
    "model.24.proto.cv1.conv.weight": "YOLOv5 segmentation",
    "model.22.proto.cv1.conv.weight": "YOLOv8 segmentation",
    "model.22.cv4.0.0.conv.weight": "YOLOv8 pose or oriented boxes",
    "model.23.proto.cv1.conv.weight": "YOLO11 segmentation",
    "model.23.cv4.0.0.conv.weight": "YOLO11 pose or oriented boxes",
    "model.21.cv3.0.0.0.conv.weight": "YOLO12",
    "model.22.m.0.1.attn.qkv.conv.weight": "YOLO26",
    "model.9.linear.weight": "YOLOv5 or YOLOv8 classification",
}


def recognize(weights: Dict[str, np.ndarray]) -> Optional[str]:
    """The name under which ``tvm_zerocopy.models`` builds the network that these weights belong to, or None."""
    if any(entry in weights for entry in _OTHERS):
        return None
    if _STEM in weights:
        letter = _LETTERS.get(_rows(weights, _STEM) / 64)
        if letter and "model.24.m.0.weight" in weights:
            return f"yolov5{letter}"
        if letter and "model.22.cv3.0.2.weight" in weights:
            return f"yolov8{letter}"
        if "model.10.attn.qkv.conv.weight" in weights:
            return _YOLOV10_NAMES.get(_rows(weights, _STEM))
        if "model.10.m.0.attn.qkv.conv.weight" in weights:
            wide = "yolo11l" if "model.2.m.1.cv1.conv.weight" in weights else "yolo11m"
            return {64: wide, **_YOLO11_NAMES}.get(_rows(weights, _STEM))
    if _YOLOX_STEM in weights:
        return _YOLOX_NAMES.get(_rows(weights, _YOLOX_STEM))
    if "layer4.1.conv2.weight" in weights and "layer1.2.conv1.weight" not in weights and "fc.weight" in weights:
        return "resnet18"
    return None


def class_count(weights: Dict[str, np.ndarray]) -> Optional[int]:
    """Classes that the head predicts, or None where no head is recognized."""
    for entry, count in (
        ("model.24.m.0.weight", lambda rows: rows // 3 - 5),  # three anchors: box, objectness, classes
        ("model.22.cv3.0.2.weight", lambda rows: rows),
        ("model.23.cv3.0.2.weight", lambda rows: rows),
        ("model.23.one2one_cv3.0.2.weight", lambda rows: rows),
        ("head.cls_preds.0.weight", lambda rows: rows),
        ("fc.weight", lambda rows: rows),
    ):
        if _rows(weights, entry):
            return count(_rows(weights, entry))
    return None


def check_fits(model: str, weights: Dict[str, np.ndarray], source: str) -> None:
    """Raise ModelError, naming what the file really holds, if it is recognizably another network than ``model``."""
    for entry, network in _OTHERS.items():
        if entry in weights:
            raise ModelError(f"{source} holds {network} weights (entry {entry!r}), not {model}; that is not supported")
    found = recognize(weights)
    if found is not None and found != model:
        raise ModelError(f"{source} holds {found} weights, not {model}; run `tvm-zerocopy export {found}` with it")


def check_numbers(weights: Dict[str, np.ndarray], source: str) -> None:
    """Raise ModelError if with these weights a network answers with no numbers (NaN) whatever the picture."""
    for name, array in weights.items():
        if not np.isfinite(array).all():
            raise ModelError(
                f"{source} holds values that are NaN or infinite (entry {name!r}): its training diverged, or it is "
                "damaged; give an earlier checkpoint"
            )
        if name.endswith("running_var") and (array < 0).any():
            raise ModelError(f"{source} holds a negative variance (entry {name!r}); it is damaged: fetch it again")


def _rows(weights: Dict[str, np.ndarray], entry: str) -> int:
    return weights[entry].shape[0] if entry in weights and weights[entry].ndim else 0
