"""The few TVM calls that the checks make, under the names they have in the TVM at hand (0.16 to 0.27)."""

import platform
from typing import Any, Tuple

import numpy as np
import tvm


def tensor(array: np.ndarray, device: Any) -> Any:
    """A copy of the array on the device."""
    make = tvm.runtime.tensor if hasattr(tvm.runtime, "tensor") else tvm.nd.array
    return make(array, device)


def build(func: Any, target: Any) -> Any:
    """A PrimFunc or a module of one as a runtime module with ``main``."""
    if not isinstance(func, tvm.IRModule):
        func = tvm.IRModule({"main": func.with_attr("global_symbol", "main")})
    built = (tvm.compile if hasattr(tvm, "compile") else tvm.build)(func, target=target)
    return built.jit() if hasattr(built, "jit") else built


def schedule(func: Any) -> Any:
    """A schedule of a PrimFunc."""
    if hasattr(tvm, "s_tir"):
        return tvm.s_tir.Schedule(func)
    return tvm.tir.Schedule(func)


def block(sch: Any, name: str) -> Any:
    return sch.get_sblock(name) if hasattr(sch, "get_sblock") else sch.get_block(name)


def dlight() -> Any:
    """TVM's stock GPU schedules."""
    if hasattr(tvm, "s_tir"):
        from tvm.s_tir import dlight as rules
    else:
        from tvm import dlight as rules
    return rules


def global_func(name: str) -> Any:
    """A function of the core library, or None."""
    return tvm.get_global_func(name, allow_missing=True)


def cpu_target() -> Any:
    """This machine's CPU with its features, as tvm-zerocopy compiles for it; in older TVMs, LLVM's idea of it."""
    if hasattr(tvm, "tirx"):
        from ..targets import resolve_target

        return resolve_target("llvm")
    config = {"kind": "llvm"}
    name = global_func("target.llvm_get_system_cpu")
    if name is not None:
        config["mcpu"] = name()
    if platform.system() == "Linux":  # a vendor's build may have another machine as its default
        config["mtriple"] = f"{platform.machine()}-linux-gnu"
    return tvm.target.Target(config)


def place(kind: str) -> Tuple[Any, Any]:
    """Target and first device of a kind, "cpu" or "cuda"; (None, None) where there is none to compile for."""
    if kind == "cpu":
        return cpu_target(), tvm.cpu()
    device = tvm.cuda(0)
    if global_func("target.build.cuda") is None or not device.exist:
        return None, None
    return tvm.target.Target(tvm.target.Target.from_device(device), host=cpu_target()), device
