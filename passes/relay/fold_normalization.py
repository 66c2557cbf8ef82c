"""Normalization and channel order move into the weights of the convolutions that read the image.

See ``tvm_zerocopy.passes.fold_normalization`` for the arithmetic and for where it is exact.
"""

from dataclasses import replace

import numpy as np
import tvm
from tvm import relay, tir

from tvm_zerocopy.specs import Frame, Preprocess

from ..channel_affine import fold_into_weights, normalized, own_order, unchanged
from ..preprocess_kernel import KERNEL_ATTR
from .glue import operator
from .input_affine import ImageTracer, replay
from .preprocess_schedules import BY_ADDRESS, scheduled_kernel
from .tir_operator import call_kernel, kernel_of, uses_gpu_threads


@tvm.transform.module_pass(opt_level=0, name="FoldNormalization")
class FoldNormalization:
    """Fold what is exact of scale, mean, standard deviation and channel order into ``main``'s first convolutions.

    The twin of ``tvm_zerocopy.passes.fold_normalization.FoldNormalization``. Weights must be constants of the module:
    import with ``freeze_params=True``, or bind them with ``relay.build_module.bind_params_by_name``. Where they are
    not, the image has other readers, or padding forbids it, nothing changes.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        mod = relay.transform.InferType()(mod)
        plan = _Plan(mod["main"])
        if not plan.folds:
            return mod
        result = tvm.IRModule(mod.functions, mod.type_definitions)
        result["main"] = _Rewriter(plan).visit(mod["main"])
        return relay.transform.InferType()(result)


class _Plan:
    """Decides, for all of main, which convolution becomes what."""

    def __init__(self, main):
        self.main = main
        self.calls, self.readers = [], {}
        relay.analysis.post_order_visit(main.body, self._note)
        self.folds, self.kernels = {}, {}
        raw = {param: _raw(param) for param in main.params if _is_image(param)}
        for call in self.calls:
            kernel = kernel_of(call)
            if kernel is not None and KERNEL_ATTR in kernel.attrs:
                self._fold_kernel(call, kernel)
                raw[call] = _raw(call)
        if not self.kernels:
            self.folds = self._folds(ImageTracer(raw))

    def _note(self, expr):
        if isinstance(expr, relay.Call):
            self.calls.append(expr)
        children = []
        if isinstance(expr, relay.Call):
            children = list(expr.args)
        elif isinstance(expr, relay.Tuple):
            children = list(expr.fields)
        elif isinstance(expr, relay.TupleGetItem):
            children = [expr.tuple_value]
        for child in children:
            self.readers.setdefault(child, []).append(expr)

    def _convolutions(self, tracer):
        """(call, channel axis, channels) of each foldable convolution over an image."""
        for call in self.calls:
            if operator(call) != "nn.conv2d" or not isinstance(call.args[1], relay.Constant):
                continue
            axis = call.attrs.data_layout.find("C")
            if call.attrs.data_layout not in ("NCHW", "NHWC"):
                continue
            if call.args[1].checked_type.dtype != "float32" or call.checked_type.dtype != "float32":
                continue  # half the precision cannot hold weights / 255
            channels = tracer.trace(call.args[0], axis)
            if channels is not None and int(call.attrs.groups) == 1:
                yield call, axis, replace(channels, padded=channels.padded or any(int(p) for p in call.attrs.padding))

    def _folds(self, tracer):
        found = ((call, _fold(call, axis, channels)) for call, axis, channels in self._convolutions(tracer))
        return {call: fold for call, fold in found if fold is not None}

    def _fold_kernel(self, image, kernel):
        """Let the kernel give raw levels, if all that reads its image can take the rest."""
        frame = Frame.from_json(str(kernel.attrs["tz.frame"]))
        spec = Preprocess.from_json(str(kernel.attrs["tz.preprocess"]))
        bare = replace(spec, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channel_order=own_order(frame))
        if bare == spec:
            return

        def channels_of(axis):
            return normalized(image, spec, bare) if axis == spec.layout.find("C") else None

        convolutions = list(self._convolutions(ImageTracer({image: channels_of})))
        folds = {call: _fold(call, axis, channels) for call, axis, channels in convolutions}
        on_the_way = {image}.union(*(channels.visited for *_, channels in convolutions))
        if not folds or None in folds.values() or self._read_by_others(on_the_way, folds):
            return
        offsets = np.concatenate([fold.offset.reshape(-1, 3) for fold in folds.values()])
        if np.any(offsets != offsets[0]):
            return
        bare = replace(bare, mean=tuple(0.0 - float(offset) for offset in offsets[0]))
        if bare == spec:
            return
        shape = [int(side) for side in image.checked_type.shape]
        size = (shape[spec.layout.index("H")], shape[spec.layout.index("W")])
        self.kernels[image] = scheduled_kernel(
            frame, bare, *size, image.checked_type.dtype, BY_ADDRESS in kernel.attrs, uses_gpu_threads(kernel)
        )
        self.folds = {call: replace(fold, offset=np.zeros_like(fold.offset)) for call, fold in folds.items()}

    def _read_by_others(self, expressions, folds):
        """True if anything but each other and the folded convolutions reads one of the expressions."""
        readers = {reader for expr in expressions for reader in self.readers.get(expr, [])}
        returned = self.main.body in expressions
        return returned or any(reader not in expressions and reader not in folds for reader in readers)


def _fold(call, axis, channels):
    return fold_into_weights(call.args[1].data.numpy(), call.attrs.kernel_layout, axis, channels)


def _is_image(param):
    ty = param.checked_type
    return isinstance(ty, relay.TensorType) and len(ty.shape) == 4 and ty.dtype == "float32"


def _raw(image):
    """An image as it is."""

    def channels(axis):
        side = image.checked_type.shape[axis]
        return unchanged(image, int(side)) if isinstance(side, tir.IntImm) else None

    return channels


class _Rewriter(relay.ExprMutator):
    def __init__(self, plan):
        super().__init__()
        self.plan = plan

    def visit_call(self, call):
        if call in self.plan.kernels:
            return call_kernel("tz.preprocess", self.plan.kernels[call], [self.visit(arg) for arg in call.args])
        fold = self.plan.folds.get(call)
        if fold is None:
            return super().visit_call(call)
        image = replay(self.visit(fold.source), fold.ways, fold.axis)
        if np.any(fold.offset):
            image = relay.add(image, _constant(fold.offset, fold.axis))
        result = relay.Call(call.op, [image, relay.const(fold.weight)], call.attrs, call.type_args)
        if np.any(fold.bias):
            layout = call.attrs.out_layout or call.attrs.data_layout
            result = relay.add(result, _constant(fold.bias, layout.find("C")))
        return result


def _constant(values, axis):
    shape = [1, 1, 1, 1]
    shape[axis] = len(values)
    return relay.const(values.astype(np.float32).reshape(shape))
