"""Machine code for a module that `LowerMainToPrimFunc` made."""

from __future__ import annotations

import contextlib

import tvm
from tvm import s_tir, tirx
from tvm.ir import PrimType
from tvm.target import Target
from tvm.tirx.build import split_host_device_mods, tir_to_runtime
from tvm_ffi import structural_walk

from . import cuda_toolchain
from .device_code import cuda_source
from .errors import UnsupportedError

KERNEL_PREFIX = "tz."  # of the kernels' symbols, so that profilers and debuggers name them and nothing else is shadowed
CPU = 1  # DLDeviceType


def build_module(lowered: tvm.IRModule, target: Target) -> tvm.runtime.Module:
    """Code for the host function and its kernels: TVM's S-TIR pipeline, with direct calls from host to kernels.

    `tvm.tirx.build` knows host functions with TVM's packed calling convention and device kernels. Here the kernels are
    a third kind, host functions over raw pointers, and the few attributes that make them so are set between its steps.

    Parameters
    ----------
    lowered : tvm.IRModule
    target : tvm.target.Target
        A CPU, or a GPU with its host.

    Returns
    -------
    tvm.runtime.Module
        With the functions ``main`` and ``main_timed``.

    Raises
    ------
    UnsupportedError
        If the target is a CUDA GPU and its compiler is missing or does not know it.
    """
    host_mod, device_mods = split_module(lowered, target)
    compiler = cuda_toolchain.compiling(str(target.attrs["arch"])) if device_mods else contextlib.nullcontext()
    with compiler:
        built = tir_to_runtime(host_mod, device_mods, target.host or target)
    source = cuda_source(built)
    if source is not None:
        cuda_toolchain.compile_source(source, str(target.attrs["arch"]))  # now, not when it is exported
    return built


def split_module(lowered: tvm.IRModule, target: Target):
    """The host's functions and, for a GPU, the kernels that they launch, ready for code generation.

    Parameters
    ----------
    lowered : tvm.IRModule
    target : tvm.target.Target

    Returns
    -------
    host_mod : tvm.IRModule
    device_mods : dict of tvm.target.Target to tvm.IRModule
    """
    host = target.host or target
    pipeline, finalize_host, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
    functions = {var: func.with_attr("target", target.with_host(host)) for var, func in lowered.functions.items()}
    if target.kind.name == "llvm":
        mod = pipeline(tvm.IRModule(functions))
    else:
        mod = _split_launchers(functions, pipeline, host)
    mod = tvm.IRModule({var: _as_host_function(var, func, host) for var, func in mod.functions.items()})
    host_mod, device_mods = split_host_device_mods(mod)
    if device_mods:
        _check_launchers(host_mod, {var.name_hint for var, func in lowered.functions.items() if is_kernel(func)})
    return finalize_host()(host_mod), {device: finalize_device()(kernels) for device, kernels in device_mods.items()}


def is_kernel(func) -> bool:
    """Whether main calls it, for the functions of a module that `LowerMainToPrimFunc` made."""
    return "global_symbol" not in func.attrs


def _check_launchers(host_mod: tvm.IRModule, kernels) -> None:
    """A loop nest that no thread was bound to would run on the host, on addresses that only the GPU can read."""
    for var, func in host_mod.functions.items():
        stores = []
        structural_walk(func.body, (tirx.BufferStore, stores.append))
        if var.name_hint in kernels and stores:
            name = stores[0].buffer.name
            raise UnsupportedError(
                f"kernel {var.name_hint} computes {name} outside of the GPU's threads: its schedule is wrong"
            )


def _split_launchers(functions, pipeline, host: Target) -> tvm.IRModule:
    """Each kernel of a GPU as a launcher, a host function, and the device functions that it launches.

    `SplitHostDevice` takes a function of the GPU's target that a host function calls for a device function. So that the
    launchers stay on the host, they go through the pipeline without main, and main with host functions in their place.
    """
    kernels = {var: func for var, func in functions.items() if is_kernel(func)}
    entries = {var: func for var, func in functions.items() if var not in kernels}
    stubs = {var: _stub(func).with_attr("target", host) for var, func in kernels.items()}
    with_stubs = pipeline(tvm.IRModule({**entries, **stubs}))
    done = {var: func for var, func in with_stubs.functions.items() if var not in stubs}
    return tvm.IRModule({**pipeline(tvm.IRModule(kernels)).functions, **done})


def _stub(func: tirx.PrimFunc) -> tirx.PrimFunc:
    return tirx.PrimFunc(func.params, tirx.Return(tirx.IntImm("int32", 0)), PrimType("int32"))


def _as_host_function(var, func, host: Target):
    """A raw kernel with what the last steps ask of a function of the host; anything else as it is."""
    if int(func.attrs.get("calling_conv", 0)) != tvm.ir.CallingConv.DEFAULT:
        return func
    *work, end = func.body.seq
    assert isinstance(end, tirx.Return), func
    # Scratch memory is allocated by device type and number, and freed at the end of the scope that allocates it: were
    # the return in it, that would come after the return.
    scope = tirx.AttrStmt("default", "device_type", tirx.IntImm("int32", CPU), tirx.SeqStmt(work))
    scope = tirx.AttrStmt("default", "device_id", tirx.IntImm("int32", 0), scope)
    host_func = func.with_body(tirx.SeqStmt([scope, end])).with_attr("target", host)
    return host_func.with_attr("global_symbol", KERNEL_PREFIX + var.name_hint)
