"""ONNX model -> IRModule of this TVM build (Relax or Relay) with one image input and static shapes, or a ModelError."""

import importlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np
import onnx
import tvm
from onnx import TensorProto, numpy_helper

from .class_names import names_from_metadata
from .errors import ModelError
from .ir_build import intermediate_representation
from .onnx_file import read_onnx
from .onnx_fold import fold_shapes
from .onnx_resize import settle_resizes
from .text import one_line

Shape = Tuple[int, ...]
# TVM's importer for the IR that this build has, and what it needs
_importer = importlib.import_module(f"{__package__}.onnx_{intermediate_representation()}")


@dataclass(frozen=True)
class ImportedModel:
    """An imported network and what its file says about it.

    Attributes
    ----------
    module : tvm.IRModule
        ``main(image)`` with static shapes; weights are constants.
    name : str
        File name without its ending, or the graph's name.
    input_name : str
    input_shape : tuple of int
        ``(N, 3, H, W)`` or ``(N, H, W, 3)``.
    layout : {"NCHW", "NHWC"}
        Which of the two.
    output_names : tuple of str
    class_names : tuple of str or None
        From the metadata entry ``names``; None if there is none.
    metadata : dict of str to str
        The file's metadata entries.
    notes : tuple of str
        What the import changed that the user may want to know.
    """

    module: tvm.IRModule
    name: str
    input_name: str
    input_shape: Shape
    layout: str
    output_names: Tuple[str, ...]
    class_names: Optional[Tuple[str, ...]] = None
    metadata: Dict[str, str] = field(default_factory=dict)
    notes: Tuple[str, ...] = ()


def import_onnx(
    model: Union[str, "os.PathLike[str]", onnx.ModelProto],
    shapes: Union[None, Sequence[int], Mapping[str, Sequence[int]]] = None,
    batch: int = 1,
) -> ImportedModel:
    """Import an ONNX model into the IR that the TVM build has: Relax or Relay.

    Parameters
    ----------
    model : path or onnx.ModelProto
        A ModelProto is not changed.
    shapes : None, shape of the image input, or dict of input name to shape
        Fixes dynamic axes. A dynamic batch axis alone needs none: it becomes ``batch``.
    batch : int
        Frames in one call; the model's batch axis must agree.

    Raises
    ------
    ModelError
        If the file is not a sound ONNX model, an operator is not supported (named with its node), an axis stays dynamic
        (named, with the mend), the batch differs, or the model does not have exactly one three-channel image input.
    """
    if isinstance(model, onnx.ModelProto):
        proto, name = onnx.ModelProto(), model.graph.name or "model"
        proto.CopyFrom(model)
    elif isinstance(model, (str, os.PathLike)):
        proto, name = read_onnx(model), Path(model).stem
    else:
        raise ModelError(f"a model is a path or an onnx.ModelProto, not {type(model).__name__}")
    notes = []
    _check_operators(proto)
    if _widen_float16(proto):
        notes.append("the model's float16 weights and values were widened to float32")
    image = _image_input(proto)
    shape = _fix_shape(proto, image, _shape_of_user(shapes, image), batch)
    _check_model(proto)
    proto = settle_resizes(fold_shapes(proto))
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return ImportedModel(
        module=_importer.to_module(proto, image.name, shape),
        name=name,
        input_name=image.name,
        input_shape=shape,
        layout=_layout(image.name, shape),
        output_names=tuple(output.name for output in proto.graph.output),
        class_names=names_from_metadata(metadata["names"]) if "names" in metadata else None,
        metadata=metadata,
        notes=tuple(notes),
    )


def _check_operators(proto: onnx.ModelProto) -> None:
    known = _importer.known_operators() | {"Constant"}
    known -= {"If", "Loop", "Scan"}  # control flow cannot be planned ahead
    known.discard("Upsample")
    bad = {}
    for node in proto.graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in known:
            operator = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
            bad.setdefault(operator, node.name or (node.output[0] if node.output else "without a name"))
    if "Upsample" in bad:
        raise ModelError(
            f"the model uses Upsample (node {bad['Upsample']!r}), which ONNX dropped with opset 10; export it with "
            "opset 11 or newer"
        )
    if bad:
        listed = ", ".join(f"{operator} (node {name!r})" for operator, name in bad.items())
        raise ModelError(
            f"the model uses {'an operator' if len(bad) == 1 else 'operators'} that cannot be compiled: {listed}; "
            "export it without (for YOLO: without NMS or plugins in the graph)"
        )


def _check_model(proto: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    opset = max((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    if opset > newest:
        raise ModelError(f"the model uses opset {opset}; this onnx package knows up to {newest}: export it with less")
    for output in proto.graph.output:  # optimizers leave them out; the checker wants the field, nobody reads it
        output.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # onnx raises ValidationError and bare C++ exceptions
        raise ModelError(f"the model is not valid ONNX: {one_line(error)}") from None


def _image_input(proto: onnx.ModelProto) -> onnx.ValueInfoProto:
    weights = {tensor.name for tensor in proto.graph.initializer}
    inputs = [value for value in proto.graph.input if value.name not in weights]
    if len(inputs) != 1:
        listed = ", ".join(value.name for value in inputs) or "none"
        raise ModelError(f"the model has {len(inputs)} inputs ({listed}); it must have exactly one, the image")
    image = inputs[0]
    if not image.type.HasField("tensor_type"):
        raise ModelError(f"the model's input {image.name!r} is not a tensor; it must be a float image")
    element = image.type.tensor_type.elem_type
    if element != TensorProto.FLOAT:
        name = TensorProto.DataType.Name(element).lower()
        raise ModelError(f"the model's input {image.name!r} is {name}; it must be a float32 or float16 image")
    if not image.type.tensor_type.HasField("shape"):
        raise ModelError(f"the model's input {image.name!r} has no shape; export it with one")
    return image


def _shape_of_user(shapes, image: onnx.ValueInfoProto) -> Optional[Shape]:
    if shapes is None:
        return None
    if isinstance(shapes, Mapping):
        if set(shapes) != {image.name}:
            raise ModelError(f"input shapes name {', '.join(map(repr, shapes))}; the model's input is {image.name!r}")
        shapes = shapes[image.name]
    shape = tuple(shapes)
    if not all(isinstance(v, (int, np.integer)) and not isinstance(v, bool) and v >= 1 for v in shape):
        raise ModelError(f"input shape {shape} must be whole numbers of at least 1, for example (1, 3, 640, 640)")
    return tuple(int(v) for v in shape)


def _fix_shape(proto: onnx.ModelProto, image: onnx.ValueInfoProto, given: Optional[Shape], batch: int) -> Shape:
    """The input's static shape, written into the model; every other recorded shape that was dynamic is dropped."""
    dims = image.type.tensor_type.shape.dim
    if len(dims) != 4:
        written = ", ".join(dim.dim_param or str(dim.dim_value) for dim in dims)
        raise ModelError(f"the model's input {image.name!r} has shape ({written}); an image has four axes (N, 3, H, W)")
    static = [dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims]
    dynamic = None in static
    if given is not None:
        if len(given) != 4 or any(s not in (None, g) for s, g in zip(static, given)):
            allowed = ", ".join("any" if s is None else str(s) for s in static)
            raise ModelError(f"input shape {given} does not fit the model's input {image.name!r} ({allowed})")
        shape = given
    else:
        shape = (batch if static[0] is None else static[0], *static[1:])
        if None in shape:
            raise ModelError(_dynamic_axes_message(proto, image, static, batch))
    if shape[0] != batch:
        raise ModelError(
            f"the model's batch is {shape[0]} and the frame's is {batch}; "
            f"use Frame(batch={shape[0]}) or export the model with a batch of {batch}"
        )
    _layout(image.name, shape)
    for dim, value in zip(dims, shape):
        dim.dim_value = value
    if dynamic:  # recorded shapes still have the old symbols
        del proto.graph.value_info[:]
    return shape


def _dynamic_axes_message(proto, image, static: List[Optional[int]], batch: int) -> str:
    dims = image.type.tensor_type.shape.dim
    axes = [f"{i} ({dim.dim_param or 'unnamed'})" for i, dim in enumerate(dims) if static[i] is None]
    example = [batch, 3, 640, 640] if static[3] != 3 else [batch, 640, 640, 3]
    size = next((entry.value for entry in proto.metadata_props if entry.key == "imgsz"), "")
    numbers = [int(v) for v in size.strip("[]() ").split(",") if v.strip().isdigit()]
    if len(numbers) == 2 and static[3] != 3:
        example[2:] = numbers
    example = [e if s is None else s for e, s in zip(example, static)]
    text = ",".join(map(str, example))
    return (
        f"the model's input {image.name!r} has dynamic axes: {', '.join(axes)}; "
        f"fix them with --input-shape {text} (shapes={tuple(example)})"
    )


def _layout(name: str, shape: Shape) -> str:
    if shape[1] == 3:
        return "NCHW"
    if shape[3] == 3:
        return "NHWC"
    raise ModelError(
        f"the model's input {name!r} has shape {shape}; an image has 3 channels: (N, 3, H, W) or (N, H, W, 3)"
    )


def _widen_float16(proto: onnx.ModelProto) -> bool:
    """Turn every float16 value of the model into float32; True if there was one."""
    graph, widened = proto.graph, False
    for tensor in graph.initializer:
        widened |= _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type, widened = TensorProto.FLOAT, True
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                widened |= _widen_tensor(attribute.t)
            elif attribute.name in ("to", "dtype") and attribute.i == TensorProto.FLOAT16:
                attribute.i, widened = TensorProto.FLOAT, True
    return widened


def _widen_tensor(tensor: TensorProto) -> bool:
    if tensor.data_type != TensorProto.FLOAT16:
        return False
    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name))
    return True
