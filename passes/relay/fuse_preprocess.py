"""``main`` takes the camera's uint8 frame; colour, resize, padding and normalization become one kernel in front."""

from typing import Optional

import tvm
from tvm import relay

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.specs import Frame, Preprocess

from ..model_image import image_parameter
from ..preprocess_kernel import frame_tensors
from .frame_descriptor import descriptor_length
from .preprocess_schedules import scheduled_kernel
from .tensor_types import tensor_of
from .tir_operator import call_kernel, for_gpu


@tvm.transform.module_pass(opt_level=0, name="FusePreprocess")
class FusePreprocess:
    """Replace ``main``'s image parameter by the frame's tensors and one operator that makes the image of them.

    The twin of ``tvm_zerocopy.passes.fuse_preprocess.FusePreprocess``: the same parameters, attributes and errors, and
    the same kernel. Relay's programs take dense tensors of fixed sizes; a frame of any size or with padded rows comes
    by its address: see ``frame_descriptor``. The kernel fits the current target (``with target:``; the CPU if there is
    none).

    Parameters
    ----------
    frame : Frame
    preprocess : Preprocess
    by_address : bool or None
        True: ``main`` takes a descriptor (``frame_descriptor.describe``) in the place of each of the frame's tensors,
        and reads frames of any row pitch and byte alignment. None: only where the frame needs it.

    Raises
    ------
    ModelError
        If ``main`` has no float image parameter, or the pass has run before.
    SpecError
        If the layout or the batch is not the model's.
    UnsupportedError
        If ``by_address`` is False and the frame has no fixed size, or padded rows.

    Examples
    --------
    >>> mod = FusePreprocess(Frame("nv12", 1080, 1920), Preprocess())(mod)
    >>> lib = relay.build(mod, "llvm", params=params)
    """

    def __init__(self, frame: Frame, preprocess: Preprocess, by_address: Optional[bool] = None):
        padded = not frame.dynamic and frame.pitch not in (None, frame.row_bytes(frame.width))
        if by_address is False and frame.dynamic:
            raise UnsupportedError(
                "a dense tensor has one size: give Frame its height and width, or take frames by address"
            )
        if by_address is False and padded:
            raise UnsupportedError(
                f"a dense tensor has no padded rows: Frame pitch is {frame.pitch}, a row has "
                f"{frame.row_bytes(frame.width)} bytes; take frames by address"
            )
        self.frame, self.preprocess = frame, preprocess
        self.by_address = frame.dynamic or padded if by_address is None else by_address

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        mod = relay.transform.InferType()(mod)
        main = mod["main"]
        parameters = [tensor_of(param.name_hint, param.checked_type) for param in main.params]
        position, size = image_parameter(parameters, main.attrs, self.frame, self.preprocess)
        image = main.params[position]

        tensors = frame_tensors(self.frame)
        if self.by_address:
            lengths = [descriptor_length(len(shape)) for shape in tensors.shapes]
            inputs = [relay.var(name, shape=(n,), dtype="int64") for name, n in zip(tensors.names, lengths)]
        else:
            shapes = [[int(side) for side in shape] for shape in tensors.shapes]
            inputs = [relay.var(name, shape=shape, dtype="uint8") for name, shape in zip(tensors.names, shapes)]
        dtype = parameters[position].dtype
        kernel = scheduled_kernel(self.frame, self.preprocess, *size, dtype, self.by_address, for_gpu())
        made = call_kernel("tz.preprocess", kernel, inputs)
        params = [*main.params[:position], *inputs, *main.params[position + 1 :]]
        body = relay.bind(main.body, {image: made})
        function = relay.Function(params, body, None, main.type_params, main.attrs)
        function = function.with_attr("tz.frame", self.frame.to_json())
        function = function.with_attr("tz.preprocess", self.preprocess.to_json())
        result = tvm.IRModule(mod.functions, mod.type_definitions)
        result["main"] = function
        return relay.transform.InferType()(result)
