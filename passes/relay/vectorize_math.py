"""sigmoid, exp, tanh and softmax in plain float32 arithmetic, which vectorizes; libm calls do not."""

import tvm
from tvm import relay

from .glue import operator


@tvm.transform.module_pass(opt_level=0, name="VectorizeMath")
class VectorizeMath:
    """Write float32 ``sigmoid`` as ``1 / (1 + fast_exp(-x))``, and ``exp``, ``tanh``, ``erf``, ``softmax`` as TVM's
    ``fast_*`` operators.

    Relay's schedules compile ``sigmoid`` to one call of libm for each element, and its own ``FastMath`` leaves it out.
    ``fast_exp`` is a polynomial within a few units in the last place (Cephes ``expf``). Run it after
    ``FuseDetectionHead``, which recognizes heads by their operators.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        mod = relay.transform.InferType()(mod)
        result = tvm.IRModule(mod.functions, mod.type_definitions)
        result["main"] = _Sigmoid().visit(mod["main"])
        return tvm.transform.Sequential([relay.transform.InferType(), relay.transform.FastMath()])(result)


class _Sigmoid(relay.ExprMutator):
    def visit_call(self, call):
        made = super().visit_call(call)
        if operator(call) != "sigmoid" or call.checked_type.dtype != "float32":
            return made
        one = relay.const(1.0, "float32")
        exp = relay.Call(relay.op.get("fast_exp"), [relay.negative(made.args[0])])
        return relay.divide(one, relay.add(one, exp))
