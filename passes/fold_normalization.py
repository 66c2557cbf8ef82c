"""Normalization and channel order move into the weights of the convolutions that read the image.

With ``y[k] = scale[k] * x[c(k)] + shift[k]`` in front of a convolution, ``W y = (W scale) x[c] + W shift``. The second
term is a constant, and becomes a bias, only where no padding mixes zeros into ``y``; elsewhere ``shift / scale`` stays
with the image, where the padding's zeros mean what they meant: ``y = scale * (x + shift / scale)``.
"""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax

from .fold_plan import Convolution, FoldPlan
from .fuse_preprocess import called_kernel
from .input_affine import ImageTracer, is_constant, replay
from .preprocess_kernel import preprocess_kernel
from .tensor_types import tensor_of


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
        for image in plan.kernels:
            kernel = preprocess_kernel(*plan.kernels[image], taps_given=True)
            mutator.builder_.update_func(plan.bindings[image].args[0], kernel)
        mutator.builder_.update_func(main, mutator.visit_expr(mod["main"]))
        return relax.transform.DeadCodeElimination(["main"])(mutator.builder_.get())


class _Plan(FoldPlan):
    def __init__(self, mod):
        self._mod, self._main = mod, mod["main"]
        self.bindings = {b.var: b.value for block in self._main.body.blocks for b in block.bindings}
        super().__init__()

    def given_images(self):
        types = {param: self.tensor(param) for param in self._main.params}
        return [param for param, ty in types.items() if ty.dtype == "float32" and len(ty.sides) == 4]

    def made_images(self):
        kernels = {var: called_kernel(self._mod, value) for var, value in self.bindings.items()}
        return {var: kernel for var, kernel in kernels.items() if kernel is not None}

    def convolutions(self):
        for var, call in self.bindings.items():
            if not isinstance(call, relax.Call) or call.op != tvm.ir.Op.get("relax.nn.conv2d"):
                continue
            (image, weight), attrs = call.args, call.attrs
            if attrs.data_layout not in ("NCHW", "NHWC") or not is_constant(weight) or int(attrs.groups) != 1:
                continue
            if str(weight.ty.dtype) != "float32" or str(call.ty.dtype) != "float32":
                continue  # half the precision cannot hold weights / 255
            axis, pads = attrs.data_layout.find("C"), any(int(p) for p in attrs.padding)
            yield Convolution(var, image, axis, weight.value.numpy, attrs.kernel_layout, pads)

    def tracer(self, sources):
        return ImageTracer(self.bindings, sources)

    def tensor(self, image):
        return tensor_of(image.name, image.ty)

    def read_by_others(self, values, folds):
        readers = [value for var, value in self.bindings.items() if var not in folds and var not in values]
        used = {var for value in readers for var in relax.analysis.free_vars(value)}
        return bool(used & values) or self._main.body.body in values


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
