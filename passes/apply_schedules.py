"""Gives every kernel that has no schedule yet the first schedule rule that fits it."""

from __future__ import annotations

import tvm
from tvm import tirx

from . import arithmetic


@tvm.ir.transform.module_pass(opt_level=0, name="ApplySchedules")
class ApplySchedules:
    """Schedules the PrimFuncs of a module, except those marked ``tirx.is_scheduled``.

    Parameters
    ----------
    rules : list
        Objects with ``apply(func, target, tuning) -> Schedule | None``, first match wins.
    target : tvm.target.Target
    measured : object or None
        Tuned schedules, asked first: ``schedule(func) -> Schedule | None``. Kernels that a rule could have tuned and
        that had none are told to it: ``missed(name)``.
    """

    def __init__(self, rules, target, measured=None):
        self.rules, self.target, self.measured = rules, target, measured

    def transform_module(self, mod: tvm.IRModule, _ctx) -> tvm.IRModule:
        updates = {}
        for global_var, func in mod.functions_items():
            if isinstance(func, tirx.PrimFunc) and not func.attrs.get("tirx.is_scheduled"):
                scheduled = self._schedule(global_var.name_hint, func)
                if scheduled is not None:
                    updates[global_var] = scheduled
        for global_var, func in updates.items():
            mod[global_var] = func
        return mod

    def _schedule(self, name, func):
        sch = self.measured.schedule(func) if self.measured is not None else None
        for rule in self.rules:
            if sch is not None:
                break
            sch = rule.apply(func, self.target, tuning=False)
            if sch is not None and self.measured is not None and getattr(rule, "tunable", False):
                self.measured.missed(name)
        if sch is None:
            return None
        scheduled = sch.mod["main"].with_attr("tirx.is_scheduled", True)
        return scheduled.with_attr(arithmetic.ATTRIBUTE, arithmetic.multiply_adds(func))
