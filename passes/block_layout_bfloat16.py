"""BlockLayout with activations in bfloat16 and convolutions on AMX; arithmetic between them stays in float32."""

from __future__ import annotations

import tvm
from tvm import relax

from . import amx_ops, bfloat16
from .block_layout import KeptAsFloat32, convert, ints, static_shape

FIRST_LANES = 4  # of a first layer's pixel: its channels and padding
LARGEST_FIRST_FILTER = amx_ops.DEPTH // FIRST_LANES


@tvm.ir.transform.module_pass(opt_level=0, name="BlockLayoutBfloat16")
class BlockLayoutBfloat16:
    """Blocks of 32 channels; what is kept between kernels is bfloat16, as uint16 bits.

    Convolutions without groups or dilation multiply bfloat16 and add in float32 (``amx_ops``); biases, activations and
    residuals are float32 in their epilogue; concatenation, split and up-sampling move bits. Other operators, and the
    network's results, are float32.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        return convert(mod, amx_ops.OUT_CHANNELS, False, _KeptAsBfloat16())


class _KeptAsBfloat16(KeptAsFloat32):
    def __init__(self):
        self._bits = {}  # blocked form -> variable of its bits

    def value(self, builder, twin):
        bits = self._bits.get(twin, twin.var)
        # again for every reader: each takes the conversion into its own kernel
        return builder.emit_te(bfloat16.unpack, bits) if bits.ty.dtype == "uint16" else bits

    def moved(self, builder, twin):
        if twin.var.ty.dtype == "uint16":
            return twin.var
        if twin not in self._bits:
            self._bits[twin] = builder.emit_te(bfloat16.pack, twin.var)
        return self._bits[twin]

    def conv2d(self, converter, call):
        data, weight = call.args
        attrs, builder = call.attrs, converter.builder_
        if not isinstance(weight, tvm.ir.GenericConst) or int(attrs.groups) != 1 or ints(attrs.dilation) != [1, 1]:
            return None
        if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "OIHW"):
            return None
        kernel = weight.value.numpy()
        channels, width = kernel.shape[1], kernel.shape[3]
        if channels <= FIRST_LANES and width <= LARGEST_FIRST_FILTER and data not in converter.twins:
            bits, lanes = builder.emit_te(bfloat16.pack_pixels, converter.plain(data), FIRST_LANES), FIRST_LANES
        else:
            bits, lanes = converter.moved(converter.blocked(data)), converter.block
        packed = amx_ops.pack_filter(kernel, lanes)
        n, out_channels, *size = static_shape(call)
        window = ints(attrs.strides), ints(attrs.padding)
        flops = 2 * n * size[0] * size[1] * kernel.size
        kernel = amx_ops.conv2d_amx(static_shape(bits), packed.shape, size, *window, flops)
        function = builder.add_func(kernel, "conv2d_amx")
        out_type = relax.TensorType((n, packed.shape[0], *size, converter.block), "float32")
        return converter.emit(relax.call_tir(function, [bits, relax.const(packed)], out_type), out_channels)
