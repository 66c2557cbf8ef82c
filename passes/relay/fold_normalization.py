"""Normalization and channel order move into the weights of the convolutions that read the image.

See ``tvm_zerocopy.passes.fold_normalization`` for the arithmetic and for where it is exact.
"""

import numpy as np
import tvm
from tvm import relay

from ..fold_plan import Convolution, FoldPlan
from ..preprocess_kernel import KERNEL_ATTR
from .glue import children, operator
from .input_affine import ImageTracer, replay
from .preprocess_schedules import BY_ADDRESS, scheduled_kernel
from .tensor_types import tensor_of
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


class _Plan(FoldPlan):
    def __init__(self, main):
        self._main = main
        self._calls, self._readers = [], {}
        relay.analysis.post_order_visit(main.body, self._note)
        super().__init__()

    def _note(self, expr):
        if isinstance(expr, relay.Call):
            self._calls.append(expr)
        for child in children(expr):
            self._readers.setdefault(child, []).append(expr)

    def given_images(self):
        types = {param: self.tensor(param) for param in self._main.params}
        return [param for param, ty in types.items() if ty.dtype == "float32" and len(ty.sides) == 4]

    def made_images(self):
        kernels = {call: kernel_of(call) for call in self._calls}
        return {call: kernel for call, kernel in kernels.items() if kernel is not None and KERNEL_ATTR in kernel.attrs}

    def convolutions(self):
        for call in self._calls:
            if operator(call) != "nn.conv2d":
                continue
            (image, weight), attrs = call.args, call.attrs
            constant = isinstance(weight, relay.Constant)
            if attrs.data_layout not in ("NCHW", "NHWC") or not constant or int(attrs.groups) != 1:
                continue
            if weight.checked_type.dtype != "float32" or call.checked_type.dtype != "float32":
                continue  # half the precision cannot hold weights / 255
            axis, pads = attrs.data_layout.find("C"), any(int(p) for p in attrs.padding)
            yield Convolution(call, image, axis, weight.data.numpy, attrs.kernel_layout, pads)

    def tracer(self, sources):
        return ImageTracer(sources)

    def tensor(self, image):
        return tensor_of("", image.checked_type)

    def read_by_others(self, values, folds):
        readers = {reader for value in values for reader in self._readers.get(value, [])}
        return self._main.body in values or any(each not in values and each not in folds for each in readers)


class _Rewriter(relay.ExprMutator):
    def __init__(self, plan):
        super().__init__()
        self.plan = plan

    def visit_call(self, call):
        if call in self.plan.kernels:
            before = kernel_of(call)
            kernel = scheduled_kernel(*self.plan.kernels[call], BY_ADDRESS in before.attrs, uses_gpu_threads(before))
            return call_kernel("tz.preprocess", kernel, [self.visit(arg) for arg in call.args])
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
