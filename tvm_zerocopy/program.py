"""Machine code for a module that `LowerMainToPrimFunc` made."""

from __future__ import annotations

import tvm
from tvm import s_tir, tirx
from tvm.target import Target
from tvm.tirx.build import split_host_device_mods, tir_to_runtime

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
    """
    host = target.host or target
    pipeline, finalize_host, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
    functions = {var: func.with_attr("target", target.with_host(host)) for var, func in lowered.functions.items()}
    mod = pipeline(tvm.IRModule(functions))
    mod = tvm.IRModule({var: _as_host_function(var, func, host) for var, func in mod.functions.items()})
    host_mod, device_mods = split_host_device_mods(mod)
    device_mods = {device: finalize_device()(device_mod) for device, device_mod in device_mods.items()}
    return tir_to_runtime(finalize_host()(host_mod), device_mods, host)


def _as_host_function(var, func, host: Target):
    """A raw kernel with what the last steps ask of a function of the host; anything else as it is."""
    if int(func.attrs.get("calling_conv", 0)) != tvm.ir.CallingConv.DEFAULT:
        return func
    # Scratch memory inside parallel loops is allocated by device type and number.
    body = tirx.AttrStmt("default", "device_type", tirx.IntImm("int32", CPU), func.body)
    body = tirx.AttrStmt("default", "device_id", tirx.IntImm("int32", 0), body)
    return func.with_body(body).with_attr("target", host).with_attr("global_symbol", KERNEL_PREFIX + var.name_hint)
