"""`CopyAudit`: every allocation and every move of bytes that a compiled program makes, with its reason."""

from __future__ import annotations

import json
import math

import tvm
import tvm_ffi
from tvm import relax, tirx

from ..errors import UnsupportedError
from .copy_report import CopyReport, CopyRow
from .data_movement import movement

STACK_BYTES = 1024  # smaller temporaries of a kernel are put on the stack: runtime::kMaxStackAlloca
COPYING_OPS = ("relax.to_vdevice", "relax.hint_on_device")
COPYING_CALLS = ("vm.builtin.copy", "vm.builtin.to_device")


class CopyAudit:
    """Lists what a module's entry function allocates and moves.

    Call it on a module that `LowerMainToPrimFunc` made, or on Relax whose operators are kernels: with ``R.call_tir``
    (each result is then an allocation), after ``CallTIRRewrite`` or after ``StaticPlanBlockMemory``; alone or with
    `BindExternalBuffers`, under which outputs are parameters that kernels write in place.

    Parameters
    ----------
    entry : str
        The function to look at.

    Examples
    --------
    >>> print(CopyAudit()(mod).to_table())

    Raises
    ------
    UnsupportedError
        On call, if the module is of neither form.
    """

    def __init__(self, entry: str = "main"):
        self.entry = entry

    def __call__(self, mod: tvm.IRModule) -> CopyReport:
        if "tz.program" in (mod.attrs or {}):
            return _lowered(mod, json.loads(mod.attrs["tz.program"]))
        functions = {var.name_hint: function for var, function in mod.functions.items()}
        if not isinstance(functions.get(self.entry), relax.Function):
            raise UnsupportedError(f"CopyAudit needs a module with a Relax function {self.entry!r}, or a lowered one")
        return _Walk(mod, functions[self.entry]).report()


def _lowered(mod, program) -> CopyReport:
    """The report of a module whose memory is planned: ``program`` is the content of its attribute ``tz.program``."""
    rows = [CopyRow(t["name"], "input", "in place", _tensor_bytes(t)) for t in program["inputs"]]
    rows.append(CopyRow("all constants", "weights", "in place", program["weights_bytes"]))
    rows.append(CopyRow(f"{len(program['buffers'])} buffers", "intermediate", "planned", program["workspace_bytes"]))
    for call in program["calls"]:
        reason = movement(mod[call["kernel"]])
        if reason is not None:
            nbytes = sum(output["nbytes"] for output in call["outputs"])
            rows.append(CopyRow(call["kernel"], reason, "copied", nbytes))
        rows += _scratch_rows(call["kernel"], mod[call["kernel"]])
    rows += [CopyRow(t["name"], "output", "in place", _tensor_bytes(t)) for t in program["outputs"]]
    return CopyReport(tuple(rows))


def _tensor_bytes(tensor):
    return None if None in tensor["shape"] else math.prod(tensor["shape"]) * _element_bytes(tensor["dtype"])


class _Walk:
    """One pass over the bindings of a Relax function."""

    def __init__(self, mod, function):
        self.mod, self.function = mod, function
        self.names = {}  # variable -> the variable whose memory it is
        self.fields = {}  # variable -> its fields, if it is a tuple
        self.allocations = {}  # variable -> bytes, in order
        self.written = set()
        self.constants = {}
        self.moves = []  # rows of kernels, in order

    def report(self) -> CopyReport:
        for block in self.function.body.blocks:
            for binding in block.bindings:
                self.bind(binding.var, binding.value)
        returned = set(self.leaves(self.function.body.body))
        params = list(self.function.params)
        inputs = int(self.function.attrs["num_input"]) if "num_input" in (self.function.attrs or {}) else len(params)
        outputs = [param for param in params if param in self.written]
        weights = [p for p in params[inputs:] if p not in self.written]
        rows = [
            CopyRow(p.name, "input", "in place", _type_bytes(p.ty))
            for p in params
            if p not in self.written and p not in weights
        ]
        sizes = [*map(_type_bytes, (w.ty for w in weights)), *self.constants.values()]
        if sizes:
            rows.append(CopyRow(f"{len(sizes)} tensors", "weights", "in place", sum(sizes)))
        for variable, nbytes in self.allocations.items():
            reason = "output" if variable in returned else "intermediate"
            rows.append(CopyRow(variable.name, reason, "allocated", nbytes))
        rows += self.moves
        rows += [CopyRow(p.name, "output", "in place", _type_bytes(p.ty)) for p in outputs]
        return CopyReport(tuple(rows))

    def bind(self, variable, value) -> None:
        if isinstance(value, relax.Var):
            self.alias(variable, value)
        elif isinstance(value, relax.Tuple):
            self.fields[variable] = list(value.fields)
        elif isinstance(value, relax.TupleGetItem):
            fields = self.fields.get(self.root(value.tuple_value))
            if fields is not None and isinstance(fields[value.index], relax.Var):
                self.alias(variable, fields[value.index])
        elif isinstance(value, relax.Call):
            self.call(variable, value)

    def alias(self, variable, value) -> None:
        root = self.root(value)
        self.names[variable] = root
        if root in self.fields:
            self.fields[variable] = self.fields[root]

    def root(self, variable):
        return self.names.get(variable, variable)

    def leaves(self, value) -> list:
        """The variables whose memory a variable or tuple stands for."""
        if isinstance(value, relax.Var):
            root = self.root(value)
            fields = self.fields.get(root)
            return [root] if fields is None else [leaf for field in fields for leaf in self.leaves(field)]
        if isinstance(value, relax.Tuple):
            return [leaf for field in value.fields for leaf in self.leaves(field)]
        return []

    def call(self, variable, call) -> None:
        name = getattr(call.op, "name", "")
        if name == "relax.builtin.alloc_tensor":
            self.allocations[variable] = _type_bytes(variable.ty)
        elif name == "relax.memory.alloc_storage":
            self.allocations[variable] = _shape_bytes(call.args[0], "uint8")
        elif name == "relax.memory.alloc_tensor":
            self.alias(variable, call.args[0])
        elif name in ("relax.reshape", "relax.memory.view", "relax.memory.ensure_zero_offset"):
            self.alias(variable, call.args[0])  # the same memory
        elif name in ("relax.call_tir", "relax.call_tir_inplace"):
            self.call_tir(variable, call)
        elif isinstance(call.op, tvm.ir.GlobalVar):
            self.kernel(call.op, list(call.args))
        elif name in COPYING_OPS or getattr(call.op, "global_symbol", "") in COPYING_CALLS:
            self.moves.append(CopyRow(variable.name, "copy", "copied", _type_bytes(variable.ty)))
            self.allocations[variable] = _type_bytes(variable.ty)

    def call_tir(self, variable, call) -> None:
        """Functional form: the results are new tensors."""
        results = [variable]
        if isinstance(variable.ty, relax.TupleType):
            types = variable.ty.fields
            results = [relax.Var(f"{variable.name}.{i}", ty) for i, ty in enumerate(types)]
            self.fields[variable] = results
        inputs = list(call.args[1].fields)
        inplace = call.attrs.inplace_indices if call.op.name == "relax.call_tir_inplace" else [-1] * len(results)
        for result, index in zip(results, inplace):
            if index >= 0:
                self.alias(result, inputs[index])
            else:
                self.allocations[result] = _type_bytes(result.ty)
        self.kernel(call.args[0], [*inputs, *(result for result, index in zip(results, inplace) if index < 0)])

    def kernel(self, callee, args) -> None:
        for arg in args:
            if isinstance(arg, tvm.ir.GenericConst):
                self.constants[arg] = _type_bytes(arg.ty)
        func = self.mod[callee]
        if not isinstance(func, tirx.PrimFunc):
            return
        stored = _stored(func)
        outputs = [arg for arg, param in zip(args, func.params) if any(param.same_as(s) for s in stored)]
        self.written.update(leaf for output in outputs for leaf in self.leaves(output))
        reason = movement(func)
        if reason is not None:
            sizes = [_type_bytes(output.ty) for output in outputs]
            self.moves.append(CopyRow(callee.name_hint, reason, "copied", None if None in sizes else sum(sizes)))
        self.moves += _scratch_rows(callee.name_hint, func)


def _stored(func) -> list:
    """The buffers that a kernel stores to."""
    found = []
    tvm_ffi.structural_walk(func.body, [(tirx.BufferStore, lambda store: found.append(store.buffer))])
    return found


def _scratch_rows(kernel: str, func) -> list:
    """A row for each buffer in ordinary memory that a kernel allocates for itself, if it is too large for the stack."""
    buffers = []
    walk = [
        (tvm.s_tir.SBlock, lambda block: buffers.extend(block.alloc_buffers)),
        (tirx.AllocBuffer, lambda allocation: buffers.append(allocation.buffer)),
    ]
    tvm_ffi.structural_walk(func.body, walk)
    sized = [(b.name, _array_bytes(b.shape, b.dtype)) for b in buffers if b.scope() in ("", "global")]
    large = [(name, nbytes) for name, nbytes in sized if nbytes is None or nbytes > STACK_BYTES]
    return [CopyRow(f"{kernel}.{name}", "scratch", "pooled", nbytes) for name, nbytes in large]


def _type_bytes(ty):
    """Bytes of a dense tensor; None if its shape is symbolic."""
    if not isinstance(ty, relax.TensorType):
        return 0
    return _shape_bytes(ty.shape, ty.dtype)


def _shape_bytes(shape, dtype):
    return None if not isinstance(shape, relax.ShapeExpr) else _array_bytes(shape.values, dtype)


def _array_bytes(extents, dtype):
    if not all(isinstance(extent, tirx.IntImm) for extent in extents):
        return None
    return math.prod(int(extent) for extent in extents) * _element_bytes(dtype)


def _element_bytes(dtype) -> int:
    parsed = tvm.DataType(str(dtype))
    return (parsed.bits * parsed.lanes + 7) // 8
