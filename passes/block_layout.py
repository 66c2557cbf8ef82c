"""Moves a convolutional graph from NCHW to channel-blocked NCHW{c}c, so that a vector register holds c channels.

Convolutions, poolings, up-sampling, concatenation, split and elementwise operators work on blocked activations from one
end of the graph to the other; weights are packed here, at compile time; conversions remain at the graph's edges only.
``relax.concat`` and ``relax.split`` along channels stay operators (axis 1 of the blocked tensor): with batch 1 they are
contiguous in memory, so that a later pass may turn them into views. Its place among TVM's passes::

    DecomposeOpsForInference(), FoldConstant(), BlockLayout(lanes),
    LegalizeOps(float_math.LEGALIZATIONS, skip_ops=["relax.concat", "relax.split"]),
    AnnotateTIROpPattern(), FoldConstant(), FuseOps(), FuseTIR(),
    LegalizeOps(), DeadCodeElimination(), ApplySchedules(rules, target)
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from . import blocked_ops, winograd_ops, winograd_strided_ops

WINOGRAD_CHANNELS, WINOGRAD_PIXELS = 32, 256
STRIDED_FILTER_BYTES = 4 << 20  # with 14 MiB (YOLOv5's 256 to 512 channels, 20x20 pixels) nothing is won
UNARY = {
    "relax.nn.relu", "relax.nn.silu", "relax.sigmoid", "relax.tanh", "relax.nn.leakyrelu", "relax.clip",
    "relax.nn.gelu", "relax.nn.gelu_tanh", "relax.negative", "relax.abs", "relax.erf", "relax.nn.softplus", "relax.exp",
    "relax.sqrt", "relax.floor", "relax.ceil", "relax.round", "relax.nn.selu",
}  # fmt: skip
BINARY = {"relax.add", "relax.subtract", "relax.multiply", "relax.divide", "relax.maximum", "relax.minimum"}


@tvm.ir.transform.module_pass(opt_level=0, name="BlockLayout")
class BlockLayout:
    """Converts every Relax function of the module.

    Parameters
    ----------
    block : int
        Channels in a block (a float32 vector register's lanes: 16 for AVX-512, 8 for AVX2, 4 for NEON).
    winograd : bool
        True: 3x3 stride-1 convolutions with enough channels are computed by Winograd's F(4x4, 3x3). Its float32 error
        is some 1e-5 of the output's standard deviation, ten times direct convolution's.
    """

    def __init__(self, block: int, winograd: bool = True):
        self.block, self.winograd = block, winograd

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        return convert(mod, self.block, self.winograd, KeptAsFloat32())


def convert(mod: tvm.IRModule, block: int, winograd: bool, kept: KeptAsFloat32) -> tvm.IRModule:
    """The module with every Relax function converted; ``kept`` says how activations lie between kernels."""
    converter, functions = _Converter(mod, block, winograd, kept), []
    for global_var, function in mod.functions_items():
        if isinstance(function, relax.Function) and "Primitive" not in (function.attrs or {}):
            updated = relax.analysis.remove_all_unused(converter.visit_expr(function))
            converter.builder_.update_func(global_var, updated)
            functions.append(global_var.name_hint)
    return relax.transform.DeadCodeElimination(functions)(converter.builder_.get())


class KeptAsFloat32:
    """Activations between kernels are what arithmetic works on."""

    def value(self, _builder, twin):
        """A blocked form's variable for arithmetic."""
        return twin.var

    def moved(self, _builder, twin):
        """A blocked form's variable where elements are only moved, or read by a kernel made for it."""
        return twin.var

    def conv2d(self, _converter, _call):
        """The form of a convolution that is computed in a way of its own; None: in float32."""
        return None


class Blocked:
    """A blocked twin of an NCHW variable: its Relax variable and how many channels are real."""

    def __init__(self, var, channels):
        self.var, self.channels = var, channels


@relax.expr_functor.mutator
class _Converter(relax.PyExprMutator):
    def __init__(self, mod, block, winograd, kept):
        super().__init__(mod)
        self.block, self.winograd, self.kept = block, winograd, kept
        self.twins = {}  # NCHW variable -> Blocked, or a tuple's variable -> list of them

    # ---- the two forms of a value

    def blocked(self, expr):
        """The blocked form of an NCHW expression, converting it if it has none yet."""
        twin = self.twins.get(expr)
        if twin is None:
            var = self.builder_.emit_te(blocked_ops.to_blocked, self.plain(expr), self.block)
            twin = Blocked(var, static_shape(expr)[1])
            if isinstance(expr, relax.Var):
                self.twins[expr] = twin
        return twin

    def plain(self, expr):
        return super().visit_expr(expr)

    def value(self, twin):
        return self.kept.value(self.builder_, twin)

    def moved(self, twin):
        return self.kept.moved(self.builder_, twin)

    def visit_var_binding_(self, binding):
        value = binding.value
        if isinstance(value, relax.Call) and isinstance(value.op, tvm.ir.Op):
            twin = self._convert(value)
            if twin is not None:
                self._bind(binding.var, twin)
                return
            if self._is_flattened(value):
                twin = self.twins[value.args[0]]
                flat = self.builder_.call_te(blocked_ops.from_blocked_flat, self.value(twin), twin.channels)
                self._bind_plain(binding.var, flat)
                return
        if isinstance(value, relax.TupleGetItem) and isinstance(self.twins.get(value.tuple_value), list):
            self._bind(binding.var, self.twins[value.tuple_value][value.index])
            return
        if isinstance(value, relax.Var) and value in self.twins:
            self._bind(binding.var, self.twins[value])
            return
        super().visit_var_binding_(binding)

    def _bind(self, var, twin):
        """Keeps the NCHW variable too, as a conversion of its twin; where nobody reads it, it goes as dead code."""
        self.twins[var] = twin
        if isinstance(twin, list):
            parts = [self.builder_.emit_te(blocked_ops.from_blocked, self.value(t), t.channels) for t in twin]
            value = relax.Tuple(parts)
        else:
            value = self.builder_.call_te(blocked_ops.from_blocked, self.value(twin), twin.channels)
        self._bind_plain(var, value)

    def _bind_plain(self, var, value):
        self.builder_.emit_normalized(relax.VarBinding(var, self.builder_.normalize(value)))

    # ---- operators

    def _convert(self, call):
        name = call.op.name
        if not _is_float_nchw(call):
            return self._split(call) if name == "relax.split" else None
        if name == "relax.nn.conv2d":
            return self._conv2d(call)
        if name in ("relax.nn.max_pool2d", "relax.nn.avg_pool2d"):
            return self._pool2d(call)
        if name in ("relax.mean", "relax.nn.adaptive_avg_pool2d"):
            return self._global_mean(call)
        if name == "relax.image.resize2d":
            return self._resize2d(call)
        if name == "relax.concat":
            return self._concat(call)
        if name in UNARY and call.args[0] in self.twins:
            twin = self.twins[call.args[0]]
            return self.emit(relax.Call(call.op, [self.value(twin), *call.args[1:]], call.attrs), twin.channels)
        if name in BINARY:
            return self._binary(call)
        return None

    def _is_flattened(self, call):
        """Whether a call makes (N, C, H * W) of a blocked tensor, as heads do; a general reshape's indices, divided by
        those extents again, would be vectors of divisions once the levels are concatenated."""
        if call.op.name != "relax.reshape" or call.args[0] not in self.twins:
            return False
        n, channels, height, width = static_shape(call.args[0])
        return static_shape(call) == (n, channels, height * width)

    def emit(self, call, channels):
        return Blocked(self.builder_.emit(call), channels)

    def _emit_te(self, compute, *args, channels):
        return Blocked(self.builder_.emit_te(compute, *args), channels)

    def _conv2d(self, call):
        own = self.kept.conv2d(self, call)
        if own is not None:
            return own
        data, weight = call.args
        attrs, block = call.attrs, self.block
        if not isinstance(weight, tvm.ir.GenericConst) or attrs.data_layout != "NCHW" or attrs.kernel_layout != "OIHW":
            return None
        kernel = weight.value.numpy()
        groups, (out_channels, group_in) = int(attrs.groups), kernel.shape[:2]
        in_channels = group_in * groups
        window = ints(attrs.strides), ints(attrs.padding), ints(attrs.dilation)
        if groups == in_channels == out_channels and groups > 1 and (data in self.twins or groups >= block):
            packed = blocked_ops.pack_outputs(kernel[:, 0], block)
            operands = self.value(self.blocked(data)), relax.const(packed)
            return self._emit_te(blocked_ops.depthwise_conv2d_nchwc, *operands, *window, channels=out_channels)
        if groups > 1 and (group_in % block or (out_channels // groups) % block):
            return None
        if out_channels < block and data not in self.twins:
            return None  # half-empty vectors pay only where nothing has to be rearranged for them
        if in_channels < block and data not in self.twins:
            operands = self.plain(data), relax.const(blocked_ops.pack_outputs(kernel, block))
        else:
            packed = blocked_ops.pack_filter(kernel, block)
            algorithm = _winograd_for(packed, window, static_shape(call)) if self.winograd and groups == 1 else None
            if algorithm is not None:
                return self._winograd(call, packed, window[1], algorithm)
            operands = self.value(self.blocked(data)), relax.const(packed)
        return self._emit_te(blocked_ops.conv2d_nchwc, *operands, *window, groups, channels=out_channels)

    def _winograd(self, call, packed, padding, algorithm):
        make, transform = algorithm
        data = self.value(self.blocked(call.args[0]))
        kernel = make(static_shape(data), packed.shape[0], padding)
        n, channels, out_h, out_w = static_shape(call)
        out_type = relax.TensorType((n, packed.shape[0], out_h, out_w, self.block), "float32")
        function = self.builder_.add_func(kernel, make.__name__)
        weight = relax.const(transform(packed))
        return self.emit(relax.call_tir(function, [data, weight], out_type), channels)

    def _pool2d(self, call):
        if call.args[0] not in self.twins or call.attrs.layout != "NCHW":
            return None
        twin, attrs = self.twins[call.args[0]], call.attrs
        kind = "max" if "max" in call.op.name else "avg"
        return self._emit_te(
            blocked_ops.pool2d_nchwc, self.value(twin), kind, ints(attrs.pool_size), ints(attrs.strides),
            ints(attrs.padding), ints(attrs.dilation), static_shape(call)[2:], bool(attrs.count_include_pad),
            channels=twin.channels,
        )  # fmt: skip

    def _global_mean(self, call):
        if call.args[0] not in self.twins or static_shape(call)[2:] != (1, 1):
            return None
        if call.op.name == "relax.mean" and tuple(ints(call.attrs.axis)) not in ((2, 3), (-2, -1)):
            return None
        twin = self.twins[call.args[0]]
        return self._emit_te(blocked_ops.global_mean_nchwc, self.value(twin), channels=twin.channels)

    def _resize2d(self, call):
        attrs, data = call.attrs, call.args[0]
        if data not in self.twins or attrs.layout != "NCHW" or attrs.method != "nearest_neighbor":
            return None
        (height, width), (out_h, out_w) = static_shape(data)[2:], static_shape(call)[2:]
        whole = out_h % height == 0 and out_w % width == 0
        # these round h / factor to its floor; other combinations are left to the general operator
        floors = attrs.coordinate_transformation_mode == "asymmetric" and attrs.rounding_method in ("floor", "")
        rounds = attrs.coordinate_transformation_mode == "half_pixel" and attrs.rounding_method not in ("floor", "ceil")
        if not (whole and (floors or rounds)):
            return None
        twin = self.twins[data]
        factors = out_h // height, out_w // width
        return self._emit_te(blocked_ops.upsample_nearest_nchwc, self.moved(twin), *factors, channels=twin.channels)

    def _concat(self, call):
        parts = list(call.args[0].fields) if isinstance(call.args[0], relax.Tuple) else None
        if parts is None or int(call.attrs.axis) not in (1, -3) or not any(part in self.twins for part in parts):
            return None
        twins = [self.blocked(part) for part in parts]
        tensors, widths = [self.moved(twin) for twin in twins], [twin.channels for twin in twins]
        if any(width % self.block for width in widths[:-1]):
            return self._emit_te(blocked_ops.concat_channels, tensors, widths, channels=sum(widths))
        return self.emit(relax.op.concat(tensors, axis=1), sum(widths))

    def _split(self, call):
        data = call.args[0]
        if data not in self.twins or int(call.attrs.axis) not in (1, -3):
            return None
        widths = [int(field.shape[1]) for field in call.ty.fields]
        tensor, starts = self.moved(self.twins[data]), np.cumsum([0, *widths[:-1]])
        if any(int(start) % self.block for start in starts):
            return [
                self._emit_te(blocked_ops.slice_channels, tensor, int(start), width, channels=width)
                for start, width in zip(starts, widths)
            ]
        ends = [int(start) // self.block for start in starts[1:]]
        var = self.builder_.emit(relax.op.split(tensor, ends, axis=1))
        return [
            Blocked(self.builder_.emit(relax.TupleGetItem(var, index)), width) for index, width in enumerate(widths)
        ]

    def _binary(self, call):
        operands = list(call.args)
        if not any(operand in self.twins for operand in operands):
            return None
        shape = static_shape(call)
        forms = [self._operand(operand, shape, call.op.name) for operand in operands]
        if any(form is None for form in forms):
            return None
        return self.emit(relax.Call(call.op, forms, call.attrs), shape[1])

    def _operand(self, operand, shape, op_name):
        """What stands for an operand next to blocked ones: its twin, a scalar, or a packed per-channel constant."""
        own = static_shape(operand)
        if own is None:
            return None
        if len(own) == 4 and own[:2] == shape[:2] and not isinstance(operand, tvm.ir.GenericConst):
            if own[2:] == shape[2:] or operand in self.twins:
                return self.value(self.blocked(operand))
            return None
        if not isinstance(operand, tvm.ir.GenericConst):
            return operand if int(np.prod(own)) == 1 and len(own) <= 1 else None
        value = operand.value.numpy()
        if value.size == 1:
            return relax.const(value.reshape(()), str(value.dtype))
        if len(own) not in (3, 4) or own[-3] != shape[1] or (len(own) == 4 and own[0] not in (1, shape[0])):
            return None
        value = value.reshape((1,) * (4 - len(own)) + own)
        value = blocked_ops.pad_axis(value, 1, self.block, fill=1.0 if op_name == "relax.divide" else 0.0)
        value = value.reshape(value.shape[0], -1, self.block, *value.shape[2:])
        return relax.const(np.ascontiguousarray(np.moveaxis(value, 2, -1)))


def ints(values):
    return tuple(int(value) for value in values)


def static_shape(expr):
    """Static shape of a tensor expression as a tuple of ints, or None."""
    shape = getattr(expr.ty, "shape", None)
    if shape is None or not isinstance(shape, relax.ShapeExpr):
        return None
    values = list(shape.values)
    if not all(isinstance(value, tvm.tirx.IntImm) for value in values):
        return None
    return tuple(int(value) for value in values)


def _is_float_nchw(call):
    if not isinstance(call.ty, relax.TensorType) or call.ty.dtype != "float32":
        return False
    shape = static_shape(call)
    return shape is not None and len(shape) == 4


def _winograd_for(packed, window, out_shape):
    """(kernel's maker, filter's transform) of the Winograd convolution that pays for a window of 3x3, or None.

    There must be enough channels that the matrix products outweigh the transforms, and enough pixels that reading the
    transformed filters, which are larger than plain ones, costs less than the multiplications saved.
    """
    out_blocks, in_blocks, *kernel, block, _ = packed.shape
    strides, _, dilation = window
    batch, _, height, width = out_shape
    if tuple(kernel) != (3, 3) or dilation != (1, 1):
        return None
    if min(in_blocks, out_blocks) * block < WINOGRAD_CHANNELS or batch * height * width < WINOGRAD_PIXELS:
        return None
    if strides == (1, 1) and min(height, width) >= 8:
        return winograd_ops.conv2d_winograd, winograd_ops.transform_filter
    overshoot = -width % winograd_strided_ops.TILE
    if strides == (2, 2) and overshoot * 8 <= width and 3 * packed.nbytes <= STRIDED_FILTER_BYTES:
        return winograd_strided_ops.conv2d_winograd_strided, winograd_strided_ops.transform_filter
    return None
