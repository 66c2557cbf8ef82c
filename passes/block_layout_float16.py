"""BlockLayout with activations in float16 and convolutions for tensor cores; arithmetic between them is float32."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, te, tirx

from . import blocked_ops
from .block_layout import KeptAsFloat32, convert, ints, static_shape

OUT_ELEMENTWISE_FUSABLE = 4  # tvm::relay::OpPatternKind::kOutEWiseFusable
BLOCK = 16  # channels: the side of a tensor core's tile (wmma m16n16k16)


@tvm.ir.transform.module_pass(opt_level=0, name="BlockLayoutFloat16")
class BlockLayoutFloat16:
    """Blocks of 16 channels; what is kept between kernels for a convolution to read is float16.

    Convolutions without groups multiply float16 and add in float32, which is what tensor cores do; biases, activations
    and residuals are float32 in their epilogue. Channels that are no multiple of 16 are padded with zeros. What no
    convolution reads, the detection head's decoding and the network's results, is float32.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        return convert(mod, BLOCK, False, _KeptAsFloat16())


class _KeptAsFloat16(KeptAsFloat32):
    def __init__(self):
        self._halves = {}  # blocked form -> variable of its float16

    def value(self, builder, twin):
        half = self._halves.get(twin, twin.var)
        # again for every reader: each takes the conversion into its own kernel
        return builder.emit_te(_cast, half, "float32") if half.ty.dtype == "float16" else half

    def moved(self, builder, twin):
        if twin.var.ty.dtype == "float16":
            return twin.var
        if twin not in self._halves:
            self._halves[twin] = builder.emit_te(_cast, twin.var, "float16")
        return self._halves[twin]

    def conv2d(self, converter, call):
        data, weight = call.args
        attrs, builder = call.attrs, converter.builder_
        if not isinstance(weight, tvm.ir.GenericConst) or int(attrs.groups) != 1:
            return None
        if (attrs.data_layout, attrs.kernel_layout) != ("NCHW", "OIHW"):
            return None
        kernel = weight.value.numpy().astype("float16")
        if not np.isfinite(kernel).all():
            return None  # a weight beyond float16's range: this layer stays in float32
        out_channels, in_channels = kernel.shape[:2]
        if in_channels < BLOCK and data not in converter.twins:  # a first layer: no channels to put in blocks
            operand, packed = converter.plain(data), blocked_ops.pack_outputs(kernel, BLOCK)
        else:
            operand = converter.moved(converter.blocked(data))
            packed = blocked_ops.pack_filter(kernel, BLOCK)
        window = ints(attrs.strides), ints(attrs.padding), ints(attrs.dilation)
        weights = relax.const(packed)
        kernel = _kernel(static_shape(operand), str(operand.ty.dtype), packed.shape, window)
        n, _, *size = static_shape(call)
        out_type = relax.TensorType((n, packed.shape[0], *size, BLOCK), "float32")
        function = builder.add_func(kernel, "conv2d_nchwc")
        return converter.emit(relax.call_tir(function, [operand, weights], out_type), out_channels)


def conv2d_float16(data, weight, strides, padding, dilation):
    """`blocked_ops.conv2d_nchwc` on float16 operands (data in float32 is rounded) with float32 sums and result."""
    if data.dtype != "float16":
        data = _cast(data, "float16")
    return blocked_ops.conv2d_nchwc(data, weight, strides, padding, dilation, sum_dtype="float32")


def _kernel(data_shape, data_dtype, weight_shape, window):
    data = te.placeholder([tirx.IntImm("int64", extent) for extent in data_shape], data_dtype, "data")
    weight = te.placeholder([tirx.IntImm("int64", extent) for extent in weight_shape], "float16", "weight")
    func = te.create_prim_func([data, weight, conv2d_float16(data, weight, *window)], index_dtype_override="int64")
    func = func.without_attr("global_symbol").with_attr("tirx.noalias", True)
    return func.with_attr("op_pattern", OUT_ELEMENTWISE_FUSABLE)  # TVM does not see it behind the conversions


def _cast(data, dtype):
    return te.compute(data.shape, lambda *i: tirx.Cast(dtype, data(*i)), name=f"to_{dtype}")
