"""What Relax's types say of tensors, without Relax."""

from tvm import relax, tirx

from .model_image import Tensor


def tensor_of(name: str, ty) -> Tensor:
    """The type of a variable or value."""
    if not isinstance(ty, relax.TensorType):
        return Tensor(name, "", ())
    sides = ty.shape.values if isinstance(ty.shape, relax.ShapeExpr) else ()
    return Tensor(name, str(ty.dtype), tuple(int(v) if isinstance(v, tirx.IntImm) else str(v) for v in sides))
