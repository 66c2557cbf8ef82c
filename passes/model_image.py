"""Which tensor of ``main`` is the model's image, and whether a frame can become it; told by dtype and shape."""

from typing import Iterable, NamedTuple, Optional, Sequence, Tuple, Union

from tvm_zerocopy.errors import ModelError, SpecError
from tvm_zerocopy.specs import Frame, Preprocess


class Tensor(NamedTuple):
    """What a Relax or Relay type says of a tensor."""

    name: str
    dtype: str
    sides: Tuple[Union[int, str], ...]  # text where not fixed; empty if it is no tensor or of no known rank

    @property
    def is_floating(self) -> bool:
        return self.dtype.startswith(("float", "bfloat"))

    @property
    def is_static(self) -> bool:
        return all(isinstance(side, int) for side in self.sides)

    def __str__(self) -> str:
        return f"{self.name}: {self.dtype or 'no tensor'} ({', '.join(map(str, self.sides))})"


def image_parameter(
    parameters: Sequence[Tensor], attributes, frame: Frame, preprocess: Preprocess
) -> Tuple[int, Tuple[int, int]]:
    """Which of ``main``'s parameters is the image, and its height and width.

    Parameters
    ----------
    parameters : sequence of Tensor
    attributes : mapping or None
        Of ``main``.
    frame, preprocess : Frame, Preprocess
        What is to become the image.

    Raises
    ------
    ModelError
        If there is no such parameter, or ``main`` takes frames already.
    SpecError
        If the layout or the batch is not the model's.
    """
    if attributes and "tz.frame" in attributes:
        raise ModelError("main takes camera frames already; FusePreprocess can run only once")
    position = _position(parameters)
    shape, layout = parameters[position].sides, preprocess.layout
    if shape[layout.index("C")] != 3:
        other = "NHWC" if layout == "NCHW" else "NCHW"
        raise SpecError(f"preprocess layout is {layout}, but the model's input has shape {shape}; use {other}")
    if shape[0] != frame.batch:
        raise SpecError(f"frame batch is {frame.batch}, but the model's input has {shape[0]}: {shape}")
    return position, (shape[layout.index("H")], shape[layout.index("W")])


def _position(parameters: Sequence[Tensor]) -> int:
    for position, tensor in enumerate(parameters):
        if not tensor.is_floating or len(tensor.sides) != 4:
            continue
        if not tensor.is_static:
            raise ModelError(f"the model's input has sizes that are not fixed: {tensor}; fix them first")
        if 3 in (tensor.sides[1], tensor.sides[3]):
            return position
    found = "; ".join(map(str, parameters))
    raise ModelError(f"main has no float image of 3 channels, (batch, 3, height, width) or NHWC, among ({found})")


def image_size(tensors: Iterable[Tensor]) -> Optional[Tuple[int, int]]:
    """(height, width) in pixels of the first static float image with three channels; None if there is none."""
    for tensor in tensors:
        if tensor.is_floating and tensor.is_static and len(tensor.sides) == 4:
            _, first, second, third = tensor.sides
            if first == 3:
                return second, third
            if third == 3:
                return first, second
    return None
