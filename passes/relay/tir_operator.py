"""A PrimFunc as a Relay operator: the way in for kernels that are written in TIR."""

from typing import Dict, Optional, Sequence

import tvm
from tvm import relay, te, tir

from tvm_zerocopy.errors import UnsupportedError

_registered: Dict[str, tir.PrimFunc] = {}


def call_kernel(name: str, kernel: tir.PrimFunc, inputs: Sequence[relay.Expr]) -> relay.Expr:
    """A call of ``kernel``, whose first parameters are the inputs and the others what it writes.

    The operator is opaque: nothing is fused into the kernel, and it computes all of its results. Its name is ``name``
    with the kernel's hash, so that kernels that differ never share one.

    Parameters
    ----------
    name : str
    kernel : PrimFunc
        Of static shapes, scheduled. Its parameters become dense, whatever strides they have there.
    inputs : sequence of relay.Expr

    Returns
    -------
    relay.Call or relay.TupleWrapper
        The only result, or all of them.
    """
    operator = f"{name}_{tvm.ir.structural_hash(kernel) & (2**64 - 1):016x}"
    results = [kernel.buffer_map[param] for param in kernel.params[len(inputs) :]]
    if operator not in _registered:
        _register(operator, kernel, results)
        _registered[operator] = kernel
    call = relay.Call(relay.op.get(operator), list(inputs), None, [])
    return call if len(results) == 1 else relay.TupleWrapper(call, len(results))


def kernel_of(expr: relay.Expr) -> Optional[tir.PrimFunc]:
    """The PrimFunc that an expression calls through ``call_kernel``; None if it calls none."""
    return _registered.get(expr.op.name) if isinstance(expr, relay.Call) and hasattr(expr.op, "name") else None


def for_gpu() -> bool:
    """Whether kernels made now are to run on a GPU: whether the current target (``with target:``) is one."""
    target = tvm.target.Target.current(allow_none=True)
    return target is not None and "gpu" in target.keys


def uses_gpu_threads(kernel: tir.PrimFunc) -> bool:
    """Whether a kernel's loops are bound to a GPU's blocks and threads."""
    return _any(kernel, _is_thread)


def _register(operator, kernel, results):
    sources = [kernel.buffer_map[param] for param in kernel.params[: len(kernel.params) - len(results)]]
    types = [relay.TensorType(buffer.shape, buffer.dtype) for buffer in results]

    def compute(_attrs, inputs, _result_type):
        shapes = [tensor.shape for tensor in inputs] + [buffer.shape for buffer in results]
        buffers, body = _dense_body(kernel, shapes)
        made = te.extern(
            shapes[len(inputs) :],
            list(inputs),
            lambda _ins, _outs: body,
            name=operator,
            dtype=[buffer.dtype for buffer in results],
            in_buffers=buffers[: len(inputs)],
            out_buffers=buffers[len(inputs) :],
        )
        return [made] if len(results) == 1 else list(made)

    def relation(_args, _attrs):
        return types[0] if len(types) == 1 else relay.TupleType(types)

    op = relay.op.op
    op.register(operator, "A kernel written in TIR.")
    registered = relay.op.get(operator)
    registered.set_num_inputs(len(sources))
    for buffer in sources:
        registered.add_argument(buffer.name, "Tensor", "")
    registered.add_type_rel(operator, relation)
    registered.set_support_level(10)
    op.register_pattern(operator, op.OpPattern.OPAQUE)
    op.register_stateful(operator, False)
    op.register_compute(operator, compute)
    op.register_schedule(operator, _as_it_is)


@tvm.target.generic_func
def _as_it_is(_attrs, outputs, target):
    name = outputs[0].op.name
    threads, gpu = uses_gpu_threads(_registered[name]), "gpu" in target.keys
    if threads != gpu:
        made_for, built_for = ("a GPU", "the CPU") if threads else ("the CPU", "a GPU")
        raise UnsupportedError(
            f"the kernel {name} was made for {made_for} and is built for {built_for}; run the passes that make kernels "
            "under the target of relay.build: with tvm.target.Target(...): mod = FusePreprocess(...)(mod)"
        )
    return te.create_schedule([output.op for output in outputs])


def _dense_body(kernel, shapes):
    """Dense buffers for all parameters, with the very shape objects (TE compares identities), and the body on them."""
    lowered = without_blocks(kernel) if _has_blocks(kernel) else kernel
    dense = {}
    for param, shape in zip(lowered.params, shapes):
        old = lowered.buffer_map[param]
        dense[old] = tir.decl_buffer(shape, old.dtype, old.name, data_alignment=old.data_alignment)

    def replace(node):
        if node.buffer not in dense:
            return None
        if isinstance(node, tir.BufferLoad):
            return tir.BufferLoad(dense[node.buffer], node.indices)
        return tir.BufferStore(dense[node.buffer], node.value, node.indices)

    body = tir.stmt_functor.ir_transform(lowered.body, None, replace, ["tir.BufferLoad", "tir.BufferStore"])
    body = tir.stmt_functor.substitute(body, {old.data: new.data for old, new in dense.items()})
    return list(dense.values()), body


def _has_blocks(kernel: tir.PrimFunc) -> bool:
    return _any(kernel, lambda node: isinstance(node, tir.BlockRealize))


def _is_thread(node) -> bool:
    if isinstance(node, tir.For):
        return node.kind == tir.ForKind.THREAD_BINDING
    return isinstance(node, tir.AttrStmt) and node.attr_key == "thread_extent"


def _any(kernel: tir.PrimFunc, predicate) -> bool:
    found = []
    tir.stmt_functor.post_order_visit(kernel.body, lambda node: found.append(node) if predicate(node) else None)
    return bool(found)


def without_blocks(kernel: tir.PrimFunc) -> tir.PrimFunc:
    """The kernel as TE schedules know bodies: loops, allocations and stores; a GPU's threads as attributes."""
    passes = [
        tir.transform.LowerInitBlock(),
        tir.transform.PlanAndUpdateBufferAllocationLocation(),
        tir.transform.ConvertBlocksToOpaque(),
        tir.transform.CompactBufferAllocation(),
        tir.transform.UnifyThreadBinding(),
        tir.transform.LowerOpaqueBlock(),
    ]
    return tvm.transform.Sequential(passes)(tvm.IRModule({"main": kernel}))["main"]
