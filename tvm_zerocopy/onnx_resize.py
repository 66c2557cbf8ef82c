"""Rewrites Resize nodes whose samples TVM's importer would take elsewhere than onnxruntime does, once shapes are fixed.

The importer scales by input / output size (not by the node's ``scales``), rounds coordinates its own way, and reads
neither ``axes`` nor ``keep_aspect_ratio_policy``. Here every coordinate is computed in float32 as onnxruntime's
``core/providers/cpu/tensor/upsamplebase.h`` does. What repeats each pixel a whole number of times stays one Resize,
which has a schedule; other nearest ones become a Gather an axis, linear ones two and their weighted sum.
"""

from typing import Dict, List, NamedTuple, Optional, Tuple

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from .errors import ModelError
from .onnx_fold import static_shapes

# (coordinate_transformation_mode, nearest_mode) that repeat each pixel k times for every whole scale k
_REPEATS = {("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"), ("half_pixel", "round_prefer_ceil")}
_TIE = np.float32(1e-6)  # coordinates this near to a half count as one: onnxruntime 1.27 and newer
_IMPORTED_COORDINATES = {"half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"}


class _Sizes(NamedTuple):
    """A Resize's extents and factors, an entry an axis."""

    before: Tuple[int, ...]
    after: Tuple[int, ...]
    scales: np.ndarray  # float32


def settle_resizes(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model with Resize nodes that TVM's importer computes as onnxruntime does.

    Parameters
    ----------
    proto : onnx.ModelProto
        With static input shapes. It is not changed; without anything to rewrite it is returned as it is.

    Raises
    ------
    ModelError
        If a Resize cannot be computed as onnxruntime does: ``antialias``, cubic with axes or coordinates that the
        importer does not know, ``tf_crop_and_resize`` outside the picture.
    """
    constants = _constants(proto.graph)
    opset = max((item.version for item in proto.opset_import if item.domain in ("", "ai.onnx")), default=1)
    resizes = (node for node in proto.graph.node if node.op_type == "Resize")
    pending = {node.output[0] for node in resizes if not _repeats_by_scale(node, constants, opset)}
    if not pending:
        return proto
    try:
        shapes = static_shapes(shape_inference.infer_shapes(proto, data_prop=True).graph)
    except shape_inference.InferenceError:
        return proto  # the importer will say what is wrong with it
    result = onnx.ModelProto()
    result.CopyFrom(proto)
    del result.graph.node[:]
    taken = {name for node in proto.graph.node for name in (*node.input, *node.output)} | set(constants)
    for node in proto.graph.node:
        if node.output[0] in pending and node.input[0] in shapes:
            rewrite = _Rewrite(node, opset, constants, shapes[node.input[0]], taken)
            result.graph.node.extend(rewrite.nodes)
            result.graph.initializer.extend(rewrite.initializers)
        else:
            result.graph.node.append(node)
    return result


def nearest_index(node: onnx.NodeProto, opset: int, before: int, after: int, scale: np.float32, roi=(0.0, 1.0)):
    """The input index of each of ``after`` outputs along one axis, int64; -1 where onnxruntime extrapolates."""
    at = _coordinates(node, opset, before, after, scale, roi)
    outside = (at < 0) | (at > before - 1) if _mode(node, opset) == "tf_crop_and_resize" else np.zeros(after, bool)
    floor = np.floor(at)
    tie = np.abs(at - floor - np.float32(0.5)) <= _TIE
    rounding = _text(node, "nearest_mode", "round_prefer_floor")
    if opset < 11:
        index = np.ceil(at) if scale < 1 else np.trunc(at)
    elif rounding in ("round_prefer_floor", "round_prefer_ceil"):
        index = np.where(tie, floor + (rounding == "round_prefer_ceil"), np.rint(at))
    elif rounding in ("floor", "ceil"):
        index = floor if rounding == "floor" else np.ceil(at)
    else:
        raise ModelError(f"Resize (node {_name(node)}) has the unknown nearest_mode {rounding!r}")
    return np.where(outside, -1, np.clip(index.astype(np.int64), 0, before - 1))


def _coordinates(node, opset: int, before: int, after: int, scale: np.float32, roi) -> np.ndarray:
    """Where each output lies along the input's axis, float32, operation by operation as onnxruntime does."""
    one, half = np.float32(1), np.float32(0.5)
    x, length, original = np.arange(after, dtype=np.float32), np.float32(after), np.float32(before)
    mode = _mode(node, opset)
    if mode == "asymmetric":
        return x / scale
    if mode == "half_pixel" or (mode == "pytorch_half_pixel" and after > 1):
        return (x + half) / scale - half
    if mode == "tf_half_pixel_for_nn":
        return (x + half) / scale
    if mode == "pytorch_half_pixel" or (mode == "align_corners" and after == 1):
        return np.zeros(after, np.float32)
    if mode == "align_corners":
        return x * (original - one) / (length - one)
    if mode == "half_pixel_symmetric":
        offset = original / np.float32(2) * (one - length / (scale * original))
        return (float(offset) + (x.astype(np.float64) + 0.5) / float(scale) - 0.5).astype(np.float32)
    if mode == "tf_crop_and_resize":
        start, end = np.float32(roi[0]), np.float32(roi[1])
        if after > 1:
            return start * (original - one) + (x * (end - start) * (original - one)) / (length - one)
        return np.full(1, 0.5 * float(start + end) * float(original - one), np.float32)
    raise ModelError(f"Resize (node {_name(node)}) has the unknown coordinate_transformation_mode {mode!r}")


class _Rewrite:
    """The nodes and constants that stand for one Resize."""

    def __init__(self, node, opset, constants, before, taken):
        self.node, self.opset, self.taken = node, opset, taken
        self.nodes: List[onnx.NodeProto] = []
        self.initializers: List[onnx.TensorProto] = []
        sizes = _sizes(node, opset, constants, before)
        if sizes is None:  # not constant: the importer says so
            self.nodes.append(node)
            return
        if _integer(node, "antialias", 0):
            raise ModelError(
                f"Resize (node {_name(node)}) has antialias=1, which cannot be compiled; export it without"
            )
        mode = _text(node, "mode", "nearest")
        rois = _rois(node, opset, constants, len(before))
        axes = [a for a in range(len(before)) if sizes.before[a] != sizes.after[a] or sizes.scales[a] != 1]
        if sizes.before == sizes.after and _mode(node, opset) != "tf_crop_and_resize":
            self._emit("Identity", [node.input[0]], last=True)  # whatever the scales say
        elif mode == "nearest":
            self._nearest(sizes, axes, rois)
        elif self._imported(sizes, axes) and (mode == "cubic" or self._exact(sizes, axes)):
            self._resize(sizes, mode=mode, coordinate_transformation_mode=_mode(node, opset), **_cubic(node))
        elif mode == "linear":
            self._linear(sizes, axes, rois)
        else:
            raise ModelError(
                f"Resize (node {_name(node)}) interpolates {mode} at {_mode(node, opset)} coordinates or with scales "
                "or axes that cannot be compiled; export it with mode linear or nearest"
            )

    def _imported(self, sizes: _Sizes, axes: List[int]) -> bool:
        """Whether TVM's importer places the samples of an interpolating Resize as onnxruntime does."""
        mode = _mode(self.node, self.opset)
        ratios = np.float32(sizes.after) / np.float32(sizes.before)
        placed = mode == "align_corners" or all(sizes.scales[a] == ratios[a] for a in axes)
        return placed and mode in _IMPORTED_COORDINATES and len(sizes.before) == 4 and set(axes) <= {2, 3}

    def _exact(self, sizes: _Sizes, axes: List[int]) -> bool:
        """Whether the importer's factor is: it multiplies by a rounded inverse, at 300 pixels 3e-5 off."""
        halvings = np.log2(sizes.scales[axes])
        return _mode(self.node, self.opset) != "align_corners" and bool((halvings == np.rint(halvings)).all())

    def _nearest(self, sizes: _Sizes, axes: List[int], rois) -> None:
        indices = {}
        for a in axes:
            index = nearest_index(self.node, self.opset, sizes.before[a], sizes.after[a], sizes.scales[a], rois[a])
            if (index < 0).any():
                raise self._outside()
            indices[a] = index
        repeats = {a: sizes.after[a] // sizes.before[a] for a in axes if sizes.after[a] % sizes.before[a] == 0}
        if (
            self.opset >= 11  # Relay's importer reads an older Resize another way
            and len(sizes.before) == 4
            and set(axes) <= {2, 3}
            and all(a in repeats and (indices[a] == np.arange(sizes.after[a]) // repeats[a]).all() for a in axes)
        ):
            mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
            self._resize(sizes, **mode)
            return
        value = self.node.input[0]
        for a in sorted(axes, key=lambda a: sizes.after[a] / sizes.before[a]):  # what shrinks goes first
            value = self._emit("Gather", [value, self._constant(indices[a])], axis=a)
        self._emit("Identity", [value], last=True)

    def _linear(self, sizes: _Sizes, axes: List[int], rois) -> None:
        value = self.node.input[0]
        for a in axes:
            at = _coordinates(self.node, self.opset, sizes.before[a], sizes.after[a], sizes.scales[a], rois[a])
            if _mode(self.node, self.opset) == "tf_crop_and_resize" and ((at < 0) | (at > sizes.before[a] - 1)).any():
                raise self._outside()
            at = np.clip(at, 0, sizes.before[a] - 1)
            low = at.astype(np.int64)
            high = np.minimum(low + 1, sizes.before[a] - 1)
            share = (at - low).reshape([-1 if axis == a else 1 for axis in range(len(sizes.before))])
            ends = [self._emit("Gather", [value, self._constant(index)], axis=a) for index in (low, high)]
            parts = [
                self._emit("Mul", [end, self._constant(weight.astype(np.float32))])
                for end, weight in zip(ends, (1 - share, share))
            ]
            value = self._emit("Add", parts)
        self._emit("Identity", [value], last=True)

    def _resize(self, sizes: _Sizes, **attributes) -> None:
        """A Resize by sizes, as opset 11 and newer write it."""
        after = self._constant(np.array(sizes.after, np.int64))
        self._emit("Resize", [self.node.input[0], "", "", after], last=True, **attributes)

    def _emit(self, operator: str, inputs: List[str], last: bool = False, **attributes) -> str:
        output = self.node.output[0] if last else self._fresh()
        name = f"{self.node.name or self.node.output[0]}/{operator}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=name, **attributes))
        return output

    def _constant(self, value: np.ndarray) -> str:
        name = self._fresh()
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def _fresh(self) -> str:
        number = len(self.taken)
        while f"{self.node.output[0]}/{number}" in self.taken:
            number += 1
        name = f"{self.node.output[0]}/{number}"
        self.taken.add(name)
        return name

    def _outside(self) -> ModelError:
        return ModelError(
            f"Resize (node {_name(self.node)}) reads outside the picture (tf_crop_and_resize), which cannot be "
            "compiled; export it with a roi inside"
        )


def _repeats_by_scale(node, constants, opset: int) -> bool:
    """The usual upsample: nearest, by whole constant scales of the last two of four axes, repeating each pixel."""
    if opset < 11 or _text(node, "mode", "nearest") != "nearest" or _integers(node, "axes"):
        return False
    modes = _mode(node, opset), _text(node, "nearest_mode", "round_prefer_floor")
    scales = constants.get(node.input[2]) if len(node.input) > 2 else None
    if modes not in _REPEATS or scales is None or scales.size != 4 or tuple(scales[:2]) != (1, 1):
        return False
    return all(1 <= scale <= 64 and scale == int(scale) for scale in scales[2:])


def _sizes(node, opset: int, constants, before) -> Optional[_Sizes]:
    """As onnxruntime finds them from the node's constant scales or sizes; None if they are not constant."""
    rank = len(before)
    inputs = list(node.input) + [""] * 4
    given, wanted = (inputs[1], "") if opset < 11 else (inputs[2], inputs[3])
    axes = [a % rank for a in _integers(node, "axes")] or list(range(rank))
    by_scales = constants.get(given) if given else None
    if by_scales is not None and by_scales.size:
        if by_scales.size != len(axes):
            raise ModelError(f"Resize (node {_name(node)}) has {by_scales.size} scales for {len(axes)} axes")
        scales = np.ones(rank, np.float32)
        scales[axes] = by_scales
        after = (scales * np.float32(before)).astype(np.int64)
    else:
        by_sizes = constants.get(wanted) if wanted else None
        if by_sizes is None:
            return None
        if by_sizes.size != len(axes):
            raise ModelError(f"Resize (node {_name(node)}) has {by_sizes.size} sizes for {len(axes)} axes")
        after = np.array(before, np.int64)
        after[axes] = by_sizes
        scales = np.float32(after) / np.float32(before)
        policy = _text(node, "keep_aspect_ratio_policy", "stretch")
        if policy != "stretch":
            scale = min(scales[axes]) if policy == "not_larger" else max(scales[axes])
            scales[:] = 1
            scales[axes] = scale
            after[axes] = np.floor(scale * np.float32(before)[axes] + np.float32(0.5))
    if (after < 1).any():
        raise ModelError(
            f"Resize (node {_name(node)}) of shape {tuple(before)} leaves nothing: {tuple(map(int, after))}"
        )
    return _Sizes(tuple(before), tuple(int(v) for v in after), scales)


def _rois(node, opset: int, constants, rank: int) -> List[Tuple[float, float]]:
    """Start and end of the region of interest, an axis, in shares of its length."""
    if _mode(node, opset) != "tf_crop_and_resize":
        return [(0.0, 1.0)] * rank
    roi = constants.get(node.input[1])
    axes = [a % rank for a in _integers(node, "axes")] or list(range(rank))
    if roi is None or roi.size != 2 * len(axes):
        raise ModelError(f"Resize (node {_name(node)}) needs a constant roi of {2 * len(axes)} values")
    result = [(0.0, 1.0)] * rank
    for i, a in enumerate(axes):
        result[a] = float(roi[i]), float(roi[len(axes) + i])
    return result


def _constants(graph) -> Dict[str, np.ndarray]:
    """Small constants by name: initializers and Constant nodes."""
    result = {item.name: numpy_helper.to_array(item) for item in graph.initializer if np.prod(item.dims) <= 64}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name.startswith("value"):
            value = helper.get_attribute_value(node.attribute[0])
            if isinstance(value, onnx.TensorProto):
                value = numpy_helper.to_array(value) if np.prod(value.dims) <= 64 else None
            if value is not None:
                result[node.output[0]] = np.asarray(value)
    return result


def _mode(node, opset: int) -> str:
    return _text(node, "coordinate_transformation_mode", "half_pixel") if opset >= 11 else "asymmetric"


def _cubic(node) -> dict:
    names = ("cubic_coeff_a", "exclude_outside")
    return {item.name: helper.get_attribute_value(item) for item in node.attribute if item.name in names}


def _attribute(node, name, default):
    return next((helper.get_attribute_value(item) for item in node.attribute if item.name == name), default)


def _text(node, name: str, default: str) -> str:
    value = _attribute(node, name, default)
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _integer(node, name: str, default: int) -> int:
    return int(_attribute(node, name, default))


def _integers(node, name: str) -> List[int]:
    return [int(v) for v in _attribute(node, name, ())]


def _name(node) -> str:
    return repr(node.name or node.output[0])
