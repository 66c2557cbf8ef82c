"""Normalization and channel order move into the weights of the convolutions that read the image.

With ``y[k] = scale[k] * x[c(k)] + shift[k]`` in front of a convolution, ``W y = (W scale) x[c] + W shift``. The second
term is a constant, and becomes a bias, only where no padding mixes zeros into ``y``; elsewhere ``shift / scale`` stays
with the image, where the padding's zeros mean what they meant: ``y = scale * (x + shift / scale)``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import tvm
from tvm import relax

from tvm_zerocopy.specs import Frame, Preprocess

from .channel_affine import fold_into_weights, normalized, own_order, unchanged
from .input_affine import ImageTracer, is_constant, replay
from .preprocess_kernel import KERNEL_ATTR, preprocess_kernel


@tvm.transform.module_pass(opt_level=0, name="FoldNormalization")
class FoldNormalization:
    """Fold what is exact of scale, mean, standard deviation and channel order into ``main``'s first convolutions.

    Two sources: the kernel of ``FusePreprocess``, which then gives raw levels 0..255 (less a mean, if the convolution
    pads), and arithmetic with constants, flips and choices of channels in front of the convolutions of any float32
    model. Where the weights are no constants, the image has other readers, or padding forbids it, nothing changes.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        plan = _Plan(mod)
        if not plan.folds:
            return mod
        main = mod.get_global_var("main")
        mutator = _Rewriter(mod, plan)
        for global_var, kernel in plan.kernels.items():
            mutator.builder_.update_func(global_var, kernel)
        mutator.builder_.update_func(main, mutator.visit_expr(mod["main"]))
        return relax.transform.DeadCodeElimination(["main"])(mutator.builder_.get())


class _Plan:
    """Decides, for all of main, which convolution becomes what."""

    def __init__(self, mod):
        self.mod = mod
        self.bindings = {b.var: b.value for block in mod["main"].body.blocks for b in block.bindings}
        self.folds, self.kernels = {}, {}
        raw = {p: _raw(p) for p in mod["main"].params if _is_image(p)}
        preprocess = [var for var, value in self.bindings.items() if self._kernel(value) is not None]
        for var in preprocess:
            self._fold_kernel(var)
            raw[var] = _raw(var)
        if not self.kernels:
            self.folds = self._folds(ImageTracer(self.bindings, raw))

    def _kernel(self, value):
        """The preprocess kernel that ``value`` calls, or None."""
        if not isinstance(value, relax.Call) or value.op != tvm.ir.Op.get("relax.call_tir"):
            return None
        func = self.mod[value.args[0]]
        return func if func.attrs.get(KERNEL_ATTR) == "preprocess" else None

    def _convolutions(self, tracer):
        """(variable, call, channel axis, channels) of each foldable convolution over an image."""
        for var, call in self.bindings.items():
            if not isinstance(call, relax.Call) or call.op != tvm.ir.Op.get("relax.nn.conv2d"):
                continue
            weight, axis = call.args[1], call.attrs.data_layout.find("C")
            if call.attrs.data_layout not in ("NCHW", "NHWC") or not is_constant(weight):
                continue
            if str(weight.ty.dtype) != "float32" or str(call.ty.dtype) != "float32":
                continue  # half the precision cannot hold weights / 255
            channels = tracer.trace(call.args[0], axis)
            if channels is not None and int(call.attrs.groups) == 1:
                padded = channels.padded or any(int(p) for p in call.attrs.padding)
                yield var, call, axis, replace(channels, padded=padded)

    def _folds(self, tracer):
        found = ((var, _fold(call, axis, channels)) for var, call, axis, channels in self._convolutions(tracer))
        return {var: fold for var, fold in found if fold is not None}

    def _fold_kernel(self, image):
        """Let the kernel give raw levels, if all that reads its image can take the rest."""
        kernel = self._kernel(self.bindings[image])
        frame, spec = Frame.from_json(kernel.attrs["tz.frame"]), Preprocess.from_json(kernel.attrs["tz.preprocess"])
        bare = replace(spec, scale=1.0, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), channel_order=own_order(frame))
        if bare == spec or spec.layout.find("C") not in (1, 3):
            return
        tracer = ImageTracer(self.bindings, {image: _normalized(image, spec, bare)})
        convolutions = list(self._convolutions(tracer))
        folds = {var: _fold(call, axis, channels) for var, call, axis, channels in convolutions}
        on_the_way = {image}.union(*(channels.visited for *_, channels in convolutions))
        if not folds or None in folds.values() or self._read_by_others(on_the_way, folds):
            return
        offsets = np.concatenate([fold.offset.reshape(-1, 3) for fold in folds.values()])
        if np.any(offsets != offsets[0]):
            return
        bare = replace(bare, mean=tuple(0.0 - float(offset) for offset in offsets[0]))
        if bare == spec:
            return
        size = self._input_size(image, spec)
        call = self.bindings[image]
        self.kernels[call.args[0]] = preprocess_kernel(frame, bare, *size, str(image.ty.dtype))
        self.folds = {var: replace(fold, offset=np.zeros_like(fold.offset)) for var, fold in folds.items()}

    def _read_by_others(self, variables, folds):
        """True if anything but each other and the folded convolutions reads one of the variables."""
        readers = [(var, value) for var, value in self.bindings.items() if var not in folds and var not in variables]
        used = {v for _, value in readers for v in relax.analysis.free_vars(value)}
        return bool(used & variables) or self.mod["main"].body.body in variables

    @staticmethod
    def _input_size(image, spec):
        shape = [int(side) for side in image.ty.shape]
        return shape[spec.layout.index("H")], shape[spec.layout.index("W")]


def _fold(call, axis, channels):
    return fold_into_weights(call.args[1].value.numpy(), call.attrs.kernel_layout, axis, channels)


def _is_image(param):
    ty = param.ty
    return isinstance(ty, relax.TensorType) and ty.ndim == 4 and str(ty.dtype) == "float32" and ty.shape is not None


def _raw(var):
    """An image as it is."""

    def channels(axis):
        if not isinstance(var.ty.shape[axis], tvm.tirx.IntImm):
            return None
        count = int(var.ty.shape[axis])
        return unchanged(var, count)

    return channels


def _normalized(var, spec, bare):
    """The preprocess kernel's image, as made of what the kernel ``bare`` would give."""

    def channels(axis):
        if axis != spec.layout.find("C"):
            return None
        return normalized(var, spec, bare)

    return channels


@relax.expr_functor.mutator
class _Rewriter(relax.PyExprMutator):
    def __init__(self, mod, plan):
        super().__init__(mod)
        self.plan = plan

    def visit_var_binding_(self, binding):
        fold = self.plan.folds.get(binding.var)
        if fold is None:
            super().visit_var_binding_(binding)
            return
        call, emit = binding.value, self.builder_.emit
        image = replay(emit, self.visit_expr(fold.source), fold.ways, fold.axis)
        if np.any(fold.offset):
            image = emit(relax.op.add(image, _constant(fold.offset, fold.axis)))
        result = relax.Call(call.op, [image, relax.const(fold.weight)], call.attrs)
        if np.any(fold.bias):
            result = relax.op.add(emit(result), _constant(fold.bias, call.attrs.out_layout.find("C")))
        finish = emit if isinstance(binding.var, relax.DataflowVar) else self.builder_.emit_output
        self.set_var_remap(binding.var, finish(result))


def _constant(values, axis):
    shape = [1, 1, 1, 1]
    shape[axis] = len(values)
    return relax.const(values.astype(np.float32).reshape(shape))
