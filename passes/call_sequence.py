"""Relax's main as a list of kernel calls on placed buffers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tvm
from tvm import relax

from ..errors import UnsupportedError
from . import view_rules
from .bind_external_buffers import BOUND
from .copy_kernel import copy_kernel
from .storage import Storage, View


@tvm.error.register_error
class LoweringError(UnsupportedError):
    """Relax's main contains something that cannot become a kernel call or a view."""


@dataclass
class KernelCall:
    """``kernel(*inputs, *outputs, *scalars)``."""

    kernel: str
    inputs: list[View]
    outputs: list[View]
    scalars: list[Any] = field(default_factory=list)


class CallSequence:
    """Main's calls in order, with every view, concatenation and split turned into addresses.

    Attributes
    ----------
    calls : list of KernelCall
    inputs, outputs : list of View
        Of main's parameters and results.
    names : list of str
        Of the parameters.
    constants : dict of bytes to numpy array
        Each distinct constant, by digest; ``Storage.key`` of kind "weights".
    copies : dict of str to PrimFunc
        Kernels that had to be added: a value that must be in two places.

    Raises
    ------
    LoweringError
        If main holds an operator that was not legalized, control flow, or a call that is no ``call_tir``.
    """

    def __init__(self, mod: tvm.IRModule, target=None):
        main = mod["main"]
        if BOUND in main.attrs:
            raise LoweringError("main's outputs are parameters already; lower it without BindExternalBuffers()")
        self._target = target
        self._values: dict[Any, Any] = {}
        self.calls: list[KernelCall] = []
        self.constants: dict[bytes, np.ndarray] = {}
        self.copies: dict[str, Any] = {}
        self.names = [str(param.name) for param in main.params]
        self._storages: dict[bytes, Storage] = {}
        self.inputs = [self._input(index, param) for index, param in enumerate(main.params)]
        blocks, result = (main.body.blocks, main.body.body) if isinstance(main.body, relax.SeqExpr) else ([], main.body)
        for block in blocks:
            for binding in block.bindings:
                self._values[binding.var] = self._bind(binding)
        values = self._value(result)
        self.outputs = [self._output(index, view) for index, view in enumerate(_leaves(values))]

    def _input(self, index: int, param) -> View:
        shape = param.ty.shape if isinstance(param.ty, relax.TensorType) else None
        if not isinstance(shape, relax.ShapeExpr):
            raise LoweringError(f"main's parameter {param.name} has type {param.ty}; it must be a tensor of known rank")
        extents = tuple(int(e) if isinstance(e, tvm.tirx.IntImm) else e for e in shape.values)
        storage = Storage("input", None, str(param.name), index)
        self._values[param] = view = View(storage, 0, extents, str(param.ty.dtype))
        storage.nbytes = view.nbytes
        return view

    def _output(self, index: int, view: View) -> View:
        """The result where the caller wants it: its kernel writes there, or one copy moves it."""
        root, offset = view.resolve()
        if root.is_free and offset == 0 and root.nbytes == view.nbytes:
            root.kind, root.key, root.name = "output", index, f"output{index}"
            return view
        if view.nbytes is None:
            raise LoweringError(f"result {index} of main has shape {view.shape}; only inputs may have run-time sizes")
        placed = View(Storage("output", view.nbytes, f"output{index}", index), 0, view.shape, view.dtype)
        self._copy(view, placed)
        return placed

    # --- bindings ---------------------------------------------------------------------------------------------------

    def _bind(self, binding):
        value = binding.value
        if isinstance(binding, relax.MatchCast) or not isinstance(value, relax.Call):
            return self._value(value)
        name = getattr(value.op, "name", None)
        if name in ("relax.call_tir", "relax.call_tir_inplace"):
            return self._call(value, binding.var)
        if name in view_rules.RESHAPES and view_rules.is_reshape_view(value):
            source = self._value(value.args[0])
            return View(source.storage, source.offset, view_rules.static_shape(value.ty), source.dtype)
        if name == "relax.concat" and view_rules.concat_offsets(value) is not None:
            return self._concat(value, str(binding.var.name))
        if name == "relax.split" and view_rules.split_offsets(value) is not None:
            return self._split(value)
        raise LoweringError(
            f"main calls {name or value.op} ({binding.var.name}), which has no kernel; run "
            "relax.transform.LegalizeOps() first (with view_rules.VIEW_LEGALIZE_MAP to keep views), and FuseTIR() to "
            "resolve fused functions"
        )

    def _value(self, expression):
        """The view, or tuple of views, that an expression stands for."""
        if isinstance(expression, relax.Tuple):
            return tuple(self._value(part) for part in expression.fields)
        if isinstance(expression, relax.TupleGetItem):
            return self._value(expression.tuple_value)[expression.index]
        if isinstance(expression, tvm.ir.GenericConst):
            return self._constant(expression)
        if isinstance(expression, (relax.ShapeExpr,)):
            return expression
        if expression in self._values:
            return self._values[expression]
        raise LoweringError(f"main uses {expression}, which is neither a tensor nor a tuple of tensors")

    def _constant(self, constant) -> View:
        data = constant.value.numpy()
        digest = hashlib.sha256(data.tobytes()).digest()
        if digest not in self.constants:
            self.constants[digest] = data
            self._storages[digest] = Storage("weights", data.nbytes, f"weights{len(self.constants) - 1}", digest)
        dtype = str(constant.ty.dtype)
        return View(self._storages[digest], 0, tuple(data.shape), dtype)

    def _new(self, ty, name: str) -> View:
        shape = view_rules.static_shape(ty)
        if shape is None:
            raise LoweringError(f"{name} has type {ty}; only main's inputs may have sizes known at run time")
        return View(Storage("workspace", view_rules.tensor_bytes(ty), name), 0, shape, str(ty.dtype))

    def _call(self, call, var):
        kernel = str(call.args[0].name_hint)
        arguments = call.args[1].fields
        inputs = [self._value(argument) for argument in arguments if not isinstance(argument.ty, tvm.ir.PrimType)]
        scalars = [argument for argument in arguments if isinstance(argument.ty, tvm.ir.PrimType)]
        types = call.ty_args[0].fields if isinstance(call.ty_args[0], tvm.ir.TupleType) else [call.ty_args[0]]
        places = [-1] * len(types)
        if call.op.name == "relax.call_tir_inplace":
            places = [int(index) for index in call.attrs.inplace_indices]
        names = [str(var.name) + (f"_{index}" if len(types) > 1 else "") for index in range(len(types))]
        results = [self._new(ty, name) if place < 0 else inputs[place] for ty, name, place in zip(types, names, places)]
        outputs = [result for result, place in zip(results, places) if place < 0]
        self.calls.append(KernelCall(kernel, inputs, outputs, scalars))
        return results[0] if not isinstance(call.ty_args[0], tvm.ir.TupleType) else tuple(results)

    def _copy(self, source: View, destination: View) -> None:
        elements = int(np.prod(source.shape, dtype=np.int64))
        name = f"copy_{source.dtype}_{elements}"
        if name not in self.copies:
            self.copies[name] = copy_kernel((elements,), source.dtype, self._target)
        self.calls.append(KernelCall(name, [source], [destination]))

    # --- views ------------------------------------------------------------------------------------------------------

    def _split(self, call) -> tuple[View, ...]:
        source = self._value(call.args[0])
        return tuple(
            View(source.storage, source.offset + offset, view_rules.static_shape(ty), source.dtype)
            for offset, ty in zip(view_rules.split_offsets(call), call.ty.fields)
        )

    def _concat(self, call, name: str) -> View:
        """Producers write into the result; what cannot (an input, a constant, a value placed elsewhere) is copied."""
        result = self._new(call.ty, name)
        parts = [self._value(part) for part in view_rules.tensor_fields(call.args[0])]
        offsets = view_rules.concat_offsets(call)
        index = 0
        while index < len(parts):
            covered = _parts_that_fill(parts[index:])
            if covered:
                parts[index].resolve()[0].place_in(result.storage, offsets[index])
                index += covered
            else:
                place = View(result.storage, offsets[index], parts[index].shape, result.dtype)
                self._copy(parts[index], place)
                index += 1
        return result


def _parts_that_fill(parts: list[View]) -> int:
    """How many of the first parts are together, in order, exactly one storage that is free to be placed."""
    root, position = parts[0].resolve()
    if not root.is_free or position != 0:
        return 0
    for count, part in enumerate(parts, start=1):
        storage, offset = part.resolve()
        if storage is not root or offset != position:
            return 0
        position += part.nbytes
        if position == root.nbytes:
            return count
    return 0


def _leaves(value) -> list[View]:
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, tuple) else [value]
