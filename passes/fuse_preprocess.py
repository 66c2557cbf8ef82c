"""``main`` takes the camera's uint8 frame; colour, resize, padding and normalization become one kernel in front.

The kernel reads the frame where it is. Its frame parameters (PrimFunc attribute ``tz.strided_params``) have symbolic
row strides, so a caller's rows may be padded: in ``relax.build``'s virtual machine and in a direct call alike, the
strides come with the tensor. They ask for no alignment of the data either.
"""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_zerocopy.specs import Frame, Preprocess

from .model_image import image_parameter
from .preprocess_kernel import frame_tensors, preprocess_kernel
from .tensor_types import tensor_of


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
        parameters = [tensor_of(param.name, param.ty) for param in main.params]
        position, size = image_parameter(parameters, main.attrs, self.frame, self.preprocess)
        image = main.params[position]
        kernel = preprocess_kernel(self.frame, self.preprocess, *size, parameters[position].dtype)
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


def _prepend(body: relax.SeqExpr, binding: relax.Binding) -> relax.SeqExpr:
    """The body with one binding more, first in its first dataflow block."""
    first, *rest = body.blocks
    if isinstance(first, relax.DataflowBlock):
        blocks = [relax.DataflowBlock([binding, *first.bindings]), *rest]
    else:
        blocks = [relax.DataflowBlock([binding]), first, *rest]
    return relax.SeqExpr(blocks, body.body)
