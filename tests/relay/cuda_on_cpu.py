"""A CUDA target whose device code runs on this CPU, for builds and machines without CUDA.

The host code is what ``relay.build`` makes for CUDA: launches, grids, memory on "the device". A launched kernel runs
its blocks and threads one after another, so kernels with barriers are refused. What this cannot show: CUDA C, and
speed.
"""

import contextlib
import ctypes

import numpy as np
import tvm
from relay_cases import TARGET
from tvm import relay, tir
from tvm._ffi.registry import remove_global_func
from tvm.contrib import graph_executor

XAVIER = tvm.target.Target("nvidia/jetson-agx-xavier", host=TARGET)
CPU = 1  # DLDeviceType
launched = []  # (kernel, extents by thread tag) of what was compiled


@contextlib.contextmanager
def installed():
    """Inside, ``relay.build`` for CUDA makes programs that run here, and ``tvm.cuda(0)`` is this machine's memory."""
    stand_ins = {"target.build.cuda": _build, "device_api.cuda": _device_api}
    before = {name: tvm.get_global_func(name, allow_missing=True) for name in stand_ins}
    for name, function in stand_ins.items():
        tvm._ffi.register_func(name, function, override=True)
    try:
        yield
    finally:
        for name, function in before.items():
            if function is None:
                remove_global_func(name)
            else:
                tvm._ffi.register_func(name, function, override=True)


def program(mod):
    """The module, built for CUDA, as ``run(**arrays) -> results``; and its launches."""
    del launched[:]
    with tvm.transform.PassContext(opt_level=3):
        library = relay.build(mod, XAVIER)
    executor = graph_executor.GraphModule(library["default"](tvm.cuda(0)))

    def run(**arrays):
        for name, array in arrays.items():
            executor.set_input(name, tvm.nd.array(np.ascontiguousarray(array), tvm.cuda(0)))
        executor.run()
        return [executor.get_output(i).numpy() for i in range(executor.get_num_outputs())]

    return run, sorted(launched, key=lambda launch: launch[0])


def _device_api():
    return ctypes.c_void_p(tvm.get_global_func("device_api.cpu")().value)


def _build(mod, _target):
    functions = {var: _as_loops(var.name_hint, func) for var, func in mod.functions.items()}
    module = tvm.build(tvm.IRModule(functions), target=TARGET)
    for var in functions:  # a loaded library has no module of its own for them, as it would have for CUDA's
        tvm._ffi.register_func(var.name_hint, module[var.name_hint], override=True)
    return module


def _as_loops(name, kernel):
    """The kernel as a function of its arguments and its launch's extents, which loops over blocks and threads."""
    tags = [str(tag) for tag in kernel.attrs["tir.kernel_launch_params"]]
    extents = {tag: tir.Var(tag.replace(".", "_"), "int32") for tag in tags}
    known, threads = {}, {}

    def visit(node):
        if isinstance(node, tir.AttrStmt) and node.attr_key == "thread_extent":
            tag = str(node.node.thread_tag)
            known[tag] = int(node.value)
            threads.setdefault(tag, []).append(node.node.var)
        if isinstance(node, tir.Call) and getattr(node.op, "name", "") == "tir.tvm_storage_sync":
            raise AssertionError(f"{name} has barriers")

    tir.stmt_functor.post_order_visit(kernel.body, visit)

    def ordinary(node):
        if isinstance(node, tir.AttrStmt):
            return node.body if node.attr_key == "thread_extent" else None
        if getattr(node.op, "name", "") == "tir.call_pure_extern" and node.args[0].value.startswith("__"):
            return tir.call_pure_extern(node.dtype, node.args[0].value[2:], *node.args[1:])  # __expf
        return None

    body = tir.stmt_functor.ir_transform(kernel.body, None, ordinary, ["tir.AttrStmt", "tir.Call"])
    for tag in threads:
        loop = tir.Var(tag.replace(".", "_") + "_index", threads[tag][0].dtype)
        body = tir.stmt_functor.substitute(body, dict.fromkeys(threads[tag], loop))
        extent = tir.const(known[tag], loop.dtype)
        body = tir.For(loop, tir.const(0, loop.dtype), extent, tir.ForKind.SERIAL, body)
    for key, value in (("device_type", CPU), ("device_id", 0)):  # for what the threads allocate
        body = tir.AttrStmt(tir.const(0), key, value, body)
    launched.append((name, known))
    function = tir.PrimFunc([*kernel.params, *extents.values()], body, None, {})
    return function.with_attr("global_symbol", name).with_attr("tir.noalias", True)
