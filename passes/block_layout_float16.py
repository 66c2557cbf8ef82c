"""BlockLayout with activations in float16 and convolutions for tensor cores; arithmetic between them is float32."""

from __future__ import annotations

from functools import partial

import numpy as np
import tvm
from tvm import relax, te, tirx

from . import blocked_ops
from .block_layout import KeptAsFloat32, convert, ints, static_shape
from .fuse_preprocess import called_kernel
from .preprocess_kernel import preprocess_kernel, specs_of

OUT_ELEMENTWISE_FUSABLE = 4  # tvm::relay::OpPatternKind::kOutEWiseFusable
BLOCK = 16  # channels: the side of a tensor core's tile (wmma m16n16k16)
PIXEL = 4  # values of an image's pixel, the last of them zero: one load


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
        self._images = {}  # image -> variable of its float16 pixels

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
        strides, padding, dilation = ints(attrs.strides), ints(attrs.padding), ints(attrs.dilation)
        compute = partial(conv2d_float16, strides=strides, padding=padding, dilation=dilation)
        first = in_channels < BLOCK and data not in converter.twins  # a first layer: no channels to put in blocks
        pixels = self._pixels(converter, converter.plain(data)) if first and dilation == (1, 1) else None
        if pixels is not None:
            operand, packed = pixels, blocked_ops.pack_pixel_filter(kernel, BLOCK, PIXEL)
            window = {"kernel_w": kernel.shape[3], "strides": strides, "padding": padding}
            compute = partial(blocked_ops.conv2d_pixels, **window, sum_dtype="float32")
        elif first:
            operand, packed = converter.plain(data), blocked_ops.pack_outputs(kernel, BLOCK)
        else:
            operand = converter.moved(converter.blocked(data))
            packed = blocked_ops.pack_filter(kernel, BLOCK)
        function = builder.add_func(_kernel(operand, packed, compute), "conv2d_nchwc")
        n, _, *size = static_shape(call)
        out_type = relax.TensorType((n, packed.shape[0], *size, BLOCK), "float32")
        return converter.emit(relax.call_tir(function, [operand, relax.const(packed)], out_type), out_channels)

    def _pixels(self, converter, image):
        """The image as float16 pixels of ``PIXEL`` values, if a preprocess kernel makes it; else None."""
        call, builder = converter.lookup_binding(image), converter.builder_
        kernel = called_kernel(builder.get(), call)
        if kernel is None:
            return None
        if image not in self._images:
            n, _, height, width = static_shape(image)
            made = preprocess_kernel(*specs_of(kernel), height, width, "float16", taps_given=True, lanes=PIXEL)
            out_type = relax.TensorType((n, 1, height, width, PIXEL), "float16")
            made = builder.add_func(made.without_attr("global_symbol"), "preprocess_pixels")
            self._images[image] = builder.emit(relax.call_tir(made, call.args[1], out_type))
        return self._images[image]


def conv2d_float16(data, weight, strides, padding, dilation):
    """`blocked_ops.conv2d_nchwc` on float16 operands (data in float32 is rounded) with float32 sums and result."""
    if data.dtype != "float16":
        data = _cast(data, "float16")
    return blocked_ops.conv2d_nchwc(data, weight, strides, padding, dilation, sum_dtype="float32")


def _kernel(operand, packed, compute):
    shapes = [[tirx.IntImm("int64", extent) for extent in shape] for shape in (static_shape(operand), packed.shape)]
    data = te.placeholder(shapes[0], str(operand.ty.dtype), "data")
    weight = te.placeholder(shapes[1], "float16", "weight")
    func = te.create_prim_func([data, weight, compute(data, weight)], index_dtype_override="int64")
    func = func.without_attr("global_symbol").with_attr("tirx.noalias", True)
    return func.with_attr("op_pattern", OUT_ELEMENTWISE_FUSABLE)  # TVM does not see it behind the conversions


def _cast(data, dtype):
    return te.compute(data.shape, lambda *i: tirx.Cast(dtype, data(*i)), name=f"to_{dtype}")
