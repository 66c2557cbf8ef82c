"""Published detector architectures as ONNX models, built without PyTorch.

``build("yolov5s")`` gives the network that Ultralytics' exporter gives: the same layers, names, input and output, with
random weights or with a checkpoint's. Nothing is downloaded.
"""

from typing import Dict, Optional, Sequence, Tuple, Union

import numpy as np
import onnx

from ..errors import ModelError
from . import resnet, yolo11, yolov5, yolov8, yolov10, yolox
from .blocks import Blocks
from .graph import GraphBuilder, Tensor
from .names import class_names
from .weights import Weights

_FAMILIES = {"yolov5": yolov5, "yolov8": yolov8, "yolov10": yolov10, "yolo11": yolo11, "yolox": yolox}


def available() -> Tuple[str, ...]:
    """Names that ``build`` knows."""
    return (*(name for family in _FAMILIES.values() for name in family.SCALES), "resnet18")


def build(
    name: str,
    weights: Optional[Dict[str, np.ndarray]] = None,
    size: Union[None, int, Tuple[int, int]] = None,
    classes: Union[None, int, Sequence[str]] = None,
    opset: int = 13,
    seed: int = 0,
    batch: int = 1,
    depth: Optional[float] = None,
    width: Optional[float] = None,
) -> onnx.ModelProto:
    """Build one network as an ONNX model with static shapes.

    Input ``images`` float32 (batch, 3, height, width) (ResNet: ``input``). Output, as the official exporters name and
    shape it:

    ==========  =========  ==============================================================================
    YOLOv5      output0    (batch, boxes, 5 + classes): cx, cy, w, h in pixels, objectness, class scores
    YOLOv8, 11  output0    (batch, 4 + classes, boxes): cx, cy, w, h in pixels, class scores
    YOLOv10     output0    (batch, 300, 6): x1, y1, x2, y2 in pixels, score, class; best first
    YOLOX       output     (batch, boxes, 5 + classes): raw grid offsets and log sizes, objectness, scores
    ResNet-18   output     (batch, classes): logits
    ==========  =========  ==============================================================================

    The model's metadata has ``names`` (a dict's repr, as Ultralytics writes it), ``stride`` and ``imgsz``.

    Parameters
    ----------
    name : str
        One of ``available()``.
    weights : dict of str to array, or None
        The official checkpoint's state dict as numpy arrays. None: random weights, scaled so that activations neither
        vanish nor saturate.
    size : int, (height, width) or None
        Input pixels, multiples of 32. None: 640 (YOLOX nano and tiny 416, ResNet 224).
    classes : int, list of names or None
        None: COCO's 80 (ResNet: 1000).
    opset : int
        11 to 19.
    seed : int
        Of the random weights.
    batch : int
        Frames in one call.
    depth, width : float or None
        Multiples other than the name's own, for a smaller or larger member of its family.

    Raises
    ------
    ModelError
        If the name, a size or the opset is not supported, or the weights do not fit the network.
    """
    family = next((key for key in _FAMILIES if name.startswith(key)), name)
    if name not in available():
        raise ModelError(f"there is no model {name!r}; there are {', '.join(available())}")
    names = class_names(classes, 1000 if name == "resnet18" else 80)
    if not names:
        raise ModelError("classes is empty; a model needs at least one class")
    height, width_px = _size(name, size)
    graph, source = GraphBuilder(opset), Weights(weights, seed)
    blocks = Blocks(graph, source)
    input_name, output_name = ("input", "output") if name == "resnet18" else ("images", "output0")
    x = Tensor(input_name, (batch, 3, height, width_px))
    if name == "resnet18":
        if depth is not None or width is not None:
            raise ModelError("resnet18 has no depth or width multiple")
        y = resnet.resnet18(blocks, x, len(names))
    else:
        module = _FAMILIES[family]
        base_depth, base_width, *rest = module.SCALES[name]
        scale = (base_depth if depth is None else depth, base_width if width is None else width)
        y = getattr(module, family)(blocks, x, len(names), *scale, *rest)
    source.check_all_used(name)
    if family == "yolox":
        output_name = "output"
    metadata = {"names": dict(enumerate(names)), "imgsz": [height, width_px]}
    if name != "resnet18":
        metadata.update(stride=32, task="detect")
    return graph.model(name, {input_name: x}, {output_name: y}, metadata)


def _size(name: str, size: Union[None, int, Tuple[int, int]]) -> Tuple[int, int]:
    if size is None:
        size = {"resnet18": 224, "yolox_nano": 416, "yolox_tiny": 416}.get(name, 640)
    height, width = (size, size) if isinstance(size, int) else tuple(size)
    if any(not isinstance(v, int) or v < 32 or v % 32 for v in (height, width)):
        raise ModelError(f"size is {height}x{width} (height x width); both must be positive multiples of 32")
    return height, width
