"""BlockLayout with activations in bfloat16; arithmetic on them, sums of products included, stays in float32."""

from __future__ import annotations

import tvm
from tvm import relax

from . import bfloat16
from .bfloat16_conv2d import Unit, conv2d_bfloat16, pack_filter
from .block_layout import KeptAsFloat32, convert, ints, static_shape

FIRST_LANES = 4  # of a first layer's pixel: its channels and padding
LARGEST_FIRST_FILTER = 8


@tvm.ir.transform.module_pass(opt_level=0, name="BlockLayoutBfloat16")
class BlockLayoutBfloat16:
    """Blocks of as many channels as two of the unit's accumulators hold; what is kept between kernels is bfloat16, as
    uint16 bits.

    Convolutions without groups or dilation multiply bfloat16 and add in float32 (``bfloat16_conv2d``); biases,
    activations and residuals are float32 in their epilogue; concatenation, split and up-sampling move bits. Other
    operators, and the network's results, are float32.

    Parameters
    ----------
    unit : Unit
        What multiplies.
    """

    def __init__(self, unit: Unit):
        self.unit = unit

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        return convert(mod, self.unit.channels, False, _KeptAsBfloat16(self.unit))


class _KeptAsBfloat16(KeptAsFloat32):
    def __init__(self, unit):
        self._unit = unit
        self._bits = {}  # blocked form -> variable of its bits

    def value(self, builder, twin):
        bits = self._bits.get(twin, twin.var)
        # again for every reader: each takes the conversion into its own kernel
        return builder.emit_te(bfloat16.unpack, bits) if bits.ty.dtype == "uint16" else bits

    def moved(self, builder, twin):
        if twin.var.ty.dtype == "uint16":
            return twin.var
        if twin not in self._bits:
            self._bits[twin] = builder.emit_te(bfloat16.pack_blocks, twin.var, twin.channels, self._unit.lanes)
        return self._bits[twin]

    def conv2d(self, converter, call):
        data, weight = call.args
        attrs, builder = call.attrs, converter.builder_
        if not isinstance(weight, tvm.ir.GenericConst) or int(attrs.groups) != 1 or ints(attrs.dilation) != (1, 1):
            return None
        if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "OIHW"):
            return None
        kernel = weight.value.numpy()
        channels, width = kernel.shape[1], kernel.shape[3]
        if channels <= FIRST_LANES and width <= LARGEST_FIRST_FILTER and data not in converter.twins:
            bits, lanes = builder.emit_te(bfloat16.pack_pixels, converter.plain(data), FIRST_LANES), FIRST_LANES
        else:
            bits, lanes = converter.moved(converter.blocked(data)), converter.block
        packed = pack_filter(kernel, lanes, self._unit)
        n, out_channels, *size = static_shape(call)
        window = ints(attrs.strides), ints(attrs.padding)
        flops = 2 * n * size[0] * size[1] * kernel.size
        kernel = conv2d_bfloat16(self._unit, static_shape(bits), packed.shape, tuple(size), *window, flops)
        function = builder.add_func(kernel, f"conv2d_{self._unit.name}")
        out_type = relax.TensorType((n, packed.shape[0], *size, converter.block), "float32")
        return converter.emit(relax.call_tir(function, [bits, relax.const(packed)], out_type), out_channels)
