"""``main`` takes the camera's uint8 frame; colour, resize, padding and normalization become one kernel in front.

The kernel reads the frame where it is, and the table of taps: a constant where the frame's size is fixed, else made by
a small kernel before it. Its frame parameters (PrimFunc attribute ``tz.strided_params``) have symbolic row strides, so
a caller's rows may be padded: in ``relax.build``'s virtual machine and in a direct call alike, the strides come with
the tensor. They ask for no alignment of the data either.
"""

from __future__ import annotations

import tvm
from tvm import relax

from tvm_zerocopy.specs import Frame, Preprocess

from .model_image import image_parameter
from .preprocess_kernel import KERNEL_ATTR, frame_tensors, open_sizes, preprocess_kernel, taps_kernel
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
        tensors = frame_tensors(self.frame)
        inputs = [relax.Var(n, relax.TensorType(s, "uint8")) for n, s in zip(tensors.names, tensors.shapes)]
        builder, dtype, bindings = relax.BlockBuilder(mod), parameters[position].dtype, []
        taps = taps_kernel(self.frame, self.preprocess, *size)
        if self.frame.dynamic:
            table = relax.DataflowVar("taps", relax.TensorType(taps.params[-1].shape, "int32"))
            made = relax.call_tir(builder.add_func(taps, "preprocess_taps"), open_sizes(tensors), table.ty)
            bindings.append(relax.VarBinding(table, builder.normalize(made)))
        else:
            table = _constant(taps)
        kernel = preprocess_kernel(self.frame, self.preprocess, *size, dtype, taps_given=True)
        call = relax.call_tir(builder.add_func(kernel, "preprocess"), [*inputs, table], image.ty)
        bindings.append(relax.VarBinding(image, builder.normalize(call)))
        params = [*main.params[:position], *inputs, *main.params[position + 1 :]]
        function = relax.Function(params, _prepend(main.body, bindings), main.ret_ty, main.is_pure, main.attrs)
        if main.attrs and "num_input" in main.attrs:  # inputs before weights
            function = function.with_attr("num_input", int(main.attrs["num_input"]) + len(inputs) - 1)
        function = function.with_attr("tz.frame", self.frame.to_json())
        function = function.with_attr("tz.preprocess", self.preprocess.to_json())
        builder.update_func(mod.get_global_var("main"), function)
        return relax.transform.Normalize()(builder.get())


def called_kernel(mod: tvm.IRModule, value) -> tvm.tirx.PrimFunc | None:
    """The preprocess kernel that an expression of a module's Relax function calls, or None."""
    if not isinstance(value, relax.Call) or value.op != tvm.ir.Op.get("relax.call_tir"):
        return None
    func = mod[value.args[0]]
    return func if func.attrs.get(KERNEL_ATTR) == "preprocess" else None


def _constant(kernel: tvm.tirx.PrimFunc) -> tvm.ir.GenericConst:
    """What a kernel without inputs writes. (``relax.transform.FoldConstant`` stops at 1024 elements.)"""
    made = tvm.runtime.empty([int(side) for side in kernel.params[0].shape], kernel.params[0].dtype)
    tvm.compile(kernel, "llvm")["main"](made)
    return relax.const(made)


def _prepend(body: relax.SeqExpr, bindings) -> relax.SeqExpr:
    """The body with more bindings, first in its first dataflow block."""
    first, *rest = body.blocks
    if isinstance(first, relax.DataflowBlock):
        blocks = [relax.DataflowBlock([*bindings, *first.bindings]), *rest]
    else:
        blocks = [relax.DataflowBlock(bindings), first, *rest]
    return relax.SeqExpr(blocks, body.body)
