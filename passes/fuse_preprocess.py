"""``main`` takes the camera's uint8 frame; colour, resize, padding and normalization become one kernel in front.

The kernel reads the frame where it is. Its frame parameters (PrimFunc attribute ``tz.strided_params``) have symbolic
row strides, so a caller's rows may be padded: in ``relax.build``'s virtual machine and in a direct call alike, the
strides come with the tensor. They ask for no alignment of the data either.
"""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_zerocopy.errors import ModelError, SpecError
from tvm_zerocopy.specs import Frame, Preprocess

from .preprocess_kernel import frame_tensors, preprocess_kernel


@tvm.transform.module_pass(opt_level=0, name="FusePreprocess")
class FusePreprocess:
    """Replace ``main``'s image parameter by the frame's tensors and one ``R.call_tir`` that makes the image of them.

    The image is ``main``'s first float parameter of static shape ``(batch, 3, height, width)``, or
    ``(batch, height, width, 3)`` with ``Preprocess.layout="NHWC"``. The frame's tensors take its place, in the order
    and with the shapes of ``Frame.shapes``; unknown sizes are symbolic. The specs are recorded on ``main`` as the
    attributes ``tz.frame`` and ``tz.preprocess`` (JSON), for the passes that follow.

    Parameters
    ----------
    frame : Frame
    preprocess : Preprocess

    Raises
    ------
    ModelError
        If ``main`` has no such parameter, or the pass has run before.
    SpecError
        If the layout or the batch is not the model's.
    """

    def __init__(self, frame: Frame, preprocess: Preprocess):
        self.frame, self.preprocess = frame, preprocess

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        main = mod["main"]
        if main.attrs and "tz.frame" in main.attrs:
            raise ModelError("main takes camera frames already; FusePreprocess can run only once")
        position = _image_position(main)
        image = main.params[position]
        batch, height, width = self._image_size(image)

        kernel = preprocess_kernel(self.frame, self.preprocess, height, width, str(image.ty.dtype))
        tensors = frame_tensors(self.frame)
        inputs = [relax.Var(n, relax.TensorType(s, "uint8")) for n, s in zip(tensors.names, tensors.shapes)]
        builder = relax.BlockBuilder(mod)
        kernel_var = builder.add_func(kernel, "preprocess")
        call = builder.normalize(relax.call_tir(kernel_var, inputs, out_ty=image.ty))
        params = [*main.params[:position], *inputs, *main.params[position + 1 :]]
        function = relax.Function(
            params, _prepend(main.body, relax.VarBinding(image, call)), main.ret_ty, main.is_pure, main.attrs
        )
        if main.attrs and "num_input" in main.attrs:  # inputs before weights
            function = function.with_attr("num_input", int(main.attrs["num_input"]) + len(inputs) - 1)
        function = function.with_attr("tz.frame", self.frame.to_json())
        function = function.with_attr("tz.preprocess", self.preprocess.to_json())
        builder.update_func(mod.get_global_var("main"), function)
        return relax.transform.Normalize()(builder.get())

    def _image_size(self, image):
        """(batch, height, width) of the model's image."""
        shape = [int(side) for side in image.ty.shape]
        layout = self.preprocess.layout
        if shape[layout.index("C")] != 3:
            other = "NHWC" if layout == "NCHW" else "NCHW"
            raise SpecError(
                f"preprocess layout is {layout}, but the model's input has shape {tuple(shape)}; use {other}"
            )
        if shape[0] != self.frame.batch:
            raise SpecError(f"frame batch is {self.frame.batch}, but the model's input has {shape[0]}: {tuple(shape)}")
        return tuple(shape[layout.index(axis)] for axis in "NHW")


def _image_position(main: relax.Function) -> int:
    """Which parameter is the image."""
    for position, param in enumerate(main.params):
        ty = param.ty
        if not isinstance(ty, relax.TensorType) or not str(ty.dtype).startswith(("float", "bfloat")) or ty.ndim != 4:
            continue
        shape = ty.shape
        if shape is None or not all(isinstance(side, tvm.tirx.IntImm) for side in shape):
            raise ModelError(f"the model's input {param.name} has sizes that are not fixed: {shape}; fix them first")
        if 3 in (int(shape[1]), int(shape[3])):
            return position
    found = ", ".join(f"{p.name}: {p.ty}" for p in main.params)
    raise ModelError(f"main has no float image of 3 channels, (batch, 3, height, width) or NHWC, among ({found})")


def _prepend(body: relax.SeqExpr, binding: relax.Binding) -> relax.SeqExpr:
    """The body with one binding more, first in its first dataflow block."""
    first, *rest = body.blocks
    if isinstance(first, relax.DataflowBlock):
        blocks = [relax.DataflowBlock([binding, *first.bindings]), *rest]
    else:
        blocks = [relax.DataflowBlock([binding]), first, *rest]
    return relax.SeqExpr(blocks, body.body)
