"""What Relay's types say of tensors, without Relay."""

from tvm import relay, tir

from ..model_image import Tensor


def tensor_of(name: str, ty) -> Tensor:
    """The type of a variable or value."""
    if not isinstance(ty, relay.TensorType):
        return Tensor(name, "", ())
    return Tensor(name, ty.dtype, tuple(int(v) if isinstance(v, tir.IntImm) else str(v) for v in ty.shape))
