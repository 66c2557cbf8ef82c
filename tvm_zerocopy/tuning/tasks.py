"""Tuning tasks: the distinct kernels of a compiled model that have a design space, and how often each one runs."""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax, tirx
from tvm.s_tir.meta_schedule.utils import shash2hex


@dataclass
class Task:
    """One kernel to tune.

    Attributes
    ----------
    name : str
        The kernel's name in the lowered module.
    mod : tvm.IRModule
        The unscheduled kernel as MetaSchedule's workload: one function, ``main``.
    weight : int
        How often it runs in a frame.
    flop : float
        Floating-point operations of one run, as TVM counts them.
    points : int
        Size of the design space; 0 where the generic search makes its own.
    """

    name: str
    mod: tvm.IRModule
    weight: int
    flop: float
    points: int = 0

    @property
    def hash(self) -> str:
        """Structural hash of the workload, hexadecimal."""
        return shash2hex(self.mod)


def as_workload(func: tirx.PrimFunc) -> tvm.IRModule:
    """The form in which a kernel is looked up in, and written to, a tuning log."""
    for attr in ("global_symbol", "op_pattern"):
        func = func.without_attr(attr)
    return tvm.IRModule({"main": func.with_attr({"global_symbol": "main", "tirx.noalias": True})})


def extract_tasks(mod: tvm.IRModule) -> list[Task]:
    """The distinct unscheduled kernels that ``main`` calls, the heaviest first.

    Parameters
    ----------
    mod : tvm.IRModule
        A module just before its kernels are scheduled: Relax ``main`` and PrimFuncs.
    """
    calls = _calls(mod)
    tasks = {}
    for global_var, func in mod.functions_items():
        count = calls.get(global_var.name_hint, 0)
        if not count or not isinstance(func, tirx.PrimFunc) or func.attrs.get("tirx.is_scheduled"):
            continue
        workload = as_workload(func)
        known = tasks.setdefault(shash2hex(workload), Task(global_var.name_hint, workload, 0, _flop(workload)))
        known.weight += count
    return sorted(tasks.values(), key=lambda task: -task.flop * task.weight)


def _calls(mod) -> dict:
    counts = {}

    def visit(expr):
        if isinstance(expr, relax.Call) and expr.op == tvm.ir.Op.get("relax.call_tir"):
            name = expr.args[0].name_hint
            counts[name] = counts.get(name, 0) + 1

    relax.analysis.post_order_visit(mod["main"], visit)
    return counts


def _flop(workload) -> float:
    try:
        return float(tvm.s_tir.analysis.estimate_tir_flops(workload))
    except (tvm.error.TVMError, RuntimeError, ValueError):
        return 0.0  # kernels with data-dependent loops have no static count
