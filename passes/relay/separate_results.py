"""Each result of ``main`` is made by a kernel of its own, which can then write it to where the caller has memory."""

import warnings
from typing import Optional

import tvm
from tvm import relay

from tvm_zerocopy.errors import UnsupportedError

from .glue import children, operator

VIEWS = {"reshape", "expand_dims", "squeeze", "nn.batch_flatten", "contrib_reverse_reshape"}  # no kernels in a graph


@tvm.transform.module_pass(opt_level=0, name="BindExternalBuffers")
class BindExternalBuffers:
    """Add a copy where a result would have no memory of its own, and warn of it; run it last before the build.

    ``tvm_zerocopy.passes.bind_external_buffers.BindExternalBuffers`` for Relay, whose executors have destination
    passing built in: ``bind_external_buffers`` binds what was built. They leave an output as it was where the result is
    a parameter of ``main``, is returned twice, or is a view of a tensor that is read again.

    Raises
    ------
    UnsupportedError
        If a result is a constant.
    """

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        mod = relay.transform.InferType()(mod)
        main = mod["main"]
        results = list(main.body.fields) if isinstance(main.body, relay.Tuple) else [main.body]
        readers = _readers(main.body)
        made = []
        for index, result in enumerate(results):
            if not relay.analysis.free_vars(result):
                raise UnsupportedError(f"result {index} of main is a constant, which no kernel writes; leave it out")
            why = _shared(result, readers)
            own = result if why is None else relay.copy(result)
            while any(tvm.ir.structural_equal(own, other) for other in made):  # or they would be computed once
                why, own = why or "is returned twice", relay.copy(own)
            if why is not None:
                warnings.warn(f"result {index} {why}; a kernel that copies it was added", stacklevel=2)
            made.append(own)
        if made == results:
            return mod
        body = relay.Tuple(made) if isinstance(main.body, relay.Tuple) else made[0]
        separate = tvm.IRModule(mod.functions, mod.type_definitions)
        separate["main"] = relay.Function(main.params, body, None, main.type_params, main.attrs)
        return relay.transform.InferType()(separate)


def _readers(body: relay.Expr) -> dict:
    """How often each expression is read."""
    counts = {}

    def visit(expr):
        for child in children(expr):
            counts[child] = counts.get(child, 0) + 1

    relay.analysis.post_order_visit(body, visit)
    return counts


def _shared(result: relay.Expr, readers: dict) -> Optional[str]:
    """Whose memory a result lies in, if not in its own."""
    source, read_again = result, False
    while operator(source) in VIEWS:
        source = source.args[0]
        read_again = read_again or readers[source] > 1
    if isinstance(source, relay.Var):
        return "is a parameter or constant of main"
    return "is a view of a tensor that is read again" if read_again else None
