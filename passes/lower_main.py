"""Relax's whole main becomes one host function that calls the kernels in order on memory planned beforehand.

``main(inputs..., outputs..., weights, workspace)``: no virtual machine, no allocation, no copy. ``main_timed`` is the
same with a last tensor of clock readings.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import tvm
from tvm import s_tir, sym, tirx
from tvm.ir import PointerType, PrimType

from . import arithmetic
from .call_sequence import CallSequence, KernelCall, LoweringError
from .configure_amx_tiles import ATTRIBUTE as USES_AMX
from .memory_plan import ALIGNMENT, Lifetime, align_up, plan_offsets
from .raw_kernel import RawKernel, dtype_bytes, is_buffer, make_raw
from .storage import Storage, View

# x86-64 Linux: arch_prctl(2), and Documentation/arch/x86/xstate.rst
SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA = 158, 0x1023, 18
CLOCK_MONOTONIC = 1  # clock_gettime(2), the same number on every Linux


def LowerMainToPrimFunc():
    """The pass; put it after FuseTIR and scheduling, then build with `tvm_zerocopy.program.build`.

    Expected before it: ``main`` is a sequence of ``R.call_tir`` over scheduled PrimFuncs, tuples, constants, and of
    the view operators that ``LegalizeOps(VIEW_LEGALIZE_MAP)`` keeps. Main's inputs may have symbolic sizes; everything
    else is static. A kernel whose input buffer declares symbolic strides reads the caller's strides at run time.

    The module after it holds the kernels over raw pointers, ``main`` and ``main_timed``, and the attributes

    - ``tz.program``: JSON; inputs and outputs (name, shape and strides in elements with null for what is known at run
      time, dtype), bytes of weights and workspace, every call with its kernel and where each argument lies (buffer
      kind, byte offset, bytes), and every planned buffer with its lifetime;
    - ``tz.weights``: one uint8 tensor, each distinct constant once, at offsets that are multiples of 64.

    Raises
    ------
    LoweringError
        If main holds something else; it is named.
    """

    @tvm.transform.module_pass(opt_level=0, name="LowerMainToPrimFunc")
    def lower(mod, _context):
        return _Lowering(mod, tvm.target.Target.current(allow_none=True)).module()

    return lower


class _Lowering:
    def __init__(self, mod: tvm.IRModule, target):
        self.sequence = CallSequence(mod, target)
        self.kernels = _raw_kernels(mod, self.sequence)
        self.flops = _flops(mod, self.kernels)
        self.globals = {name: tvm.ir.GlobalVar(name) for name in self.kernels}
        self.weights, self.weight_offsets = _weights(self.sequence)
        self._plan()

    def module(self) -> tvm.IRModule:
        functions = {self.globals[name]: kernel.func for name, kernel in self.kernels.items()}
        for name, timed in (("main", False), ("main_timed", True)):
            functions[tvm.ir.GlobalVar(name)] = self._host_function(name, timed)
        attrs = {"tz.program": json.dumps(self.describe()), "tz.weights": tvm.runtime.tensor(self.weights)}
        return tvm.IRModule(functions, attrs=tvm.ir.make_node("ir.DictAttrs", **attrs))

    # --- memory -----------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        lifetimes: dict[Storage, Lifetime] = {}
        temporaries = []
        for step, call in enumerate(self.sequence.calls):
            for view in (*call.inputs, *call.outputs):
                root, _ = view.resolve()
                if root.kind == "workspace":
                    first = lifetimes[root].first if root in lifetimes else step
                    lifetimes[root] = Lifetime(root.nbytes, first, step)
            for number, nbytes in enumerate(self.kernels[call.kernel].temporaries):
                temporaries.append(((step, number), Lifetime(nbytes, step, step)))
        keys = [*lifetimes, *(key for key, _ in temporaries)]
        self.lifetimes = [*lifetimes.values(), *(lifetime for _, lifetime in temporaries)]
        offsets, self.workspace_bytes = plan_offsets(self.lifetimes)
        self.offsets: dict[Any, int] = dict(zip(keys, offsets))

    def _address(self, view: View):
        """(kind, number of the input or output, byte offset) of a tensor."""
        root, offset = view.resolve()
        if root.kind == "workspace":
            offset += self.offsets[root]
        elif root.kind == "weights":
            offset += self.weight_offsets[root.key]
        return root.kind, root.key if root.kind in ("input", "output") else None, offset

    # --- the host function ------------------------------------------------------------------------------------------

    def _host_function(self, name: str, timed: bool) -> tirx.PrimFunc:
        inputs = [self._input_buffer(index, view) for index, view in enumerate(self.sequence.inputs)]
        outputs = [
            tirx.decl_buffer(view.shape, view.dtype, f"output{index}", data_alignment=dtype_bytes(view.dtype))
            for index, view in enumerate(self.sequence.outputs)
        ]
        weights = tirx.decl_buffer((len(self.weights),), "uint8", "weights", data_alignment=ALIGNMENT)
        workspace = tirx.decl_buffer((max(self.workspace_bytes, 1),), "uint8", "workspace", data_alignment=ALIGNMENT)
        owners = {"input": inputs, "output": outputs, "weights": weights, "workspace": workspace}
        params = [*inputs, *outputs, weights, workspace]
        body: list[tirx.Stmt] = [_request_amx()] if self._uses_amx() else []
        if timed:
            clock = tirx.decl_buffer((len(self.sequence.calls) + 1, 2), "int64", "clock", data_alignment=8)
            params.append(clock)
            body.append(_read_clock(clock, 0))
        for step, call in enumerate(self.sequence.calls):
            body += self._call(step, call, owners)
            if timed:
                body.append(_read_clock(clock, step + 1))
        func = tirx.PrimFunc(params, tirx.SeqStmt([*body, tirx.Evaluate(0)]))
        return func.with_attr("global_symbol", name).with_attr("s_tir", True)

    def _uses_amx(self) -> bool:
        return any(kernel.func.attrs.get(USES_AMX) for kernel in self.kernels.values())

    def _input_buffer(self, index: int, view: View) -> tirx.Buffer:
        """Main's parameter; its strides are free on the axes where every kernel that reads it says so."""
        readers = [
            param
            for call in self.sequence.calls
            for argument, param in zip(call.inputs, filter(is_buffer, self.kernels[call.kernel].params))
            if argument.storage is view.storage
        ]
        strides = None
        if readers and all(len(param.strides) == len(view.shape) for param in readers):
            strides = [
                tirx.Var(f"input{index}_stride{axis}", "int64")
                if all(isinstance(stride, tirx.Var) for stride in along)
                else _int64(along[0])
                for axis, along in enumerate(zip(*(param.strides for param in readers)))
            ]
        # Cameras and numpy align to nothing: 1 byte is all that is asked of an input.
        name, shape = self.sequence.names[index], [_int64(extent) for extent in view.shape]
        return tirx.decl_buffer(shape, view.dtype, name, strides=strides, data_alignment=1)

    def _call(self, step: int, call: KernelCall, owners) -> list[tirx.Stmt]:
        kernel = self.kernels[call.kernel]
        views, scalars, arguments = [*call.inputs, *call.outputs], list(call.scalars), []
        sizes: dict[tirx.Var, Any] = {}
        for param in kernel.params:
            if not is_buffer(param):
                arguments.append(scalars.pop(0))
                continue
            view = views.pop(0)
            kind, number, offset = self._address(view)
            owner = owners[kind] if number is None else owners[kind][number]
            arguments.append(_pointer(owner, offset, param))
            _match_sizes(param, view, owner, sizes)
        arguments += [sizes[variable] for variable in kernel.sizes]
        for number in range(len(kernel.temporaries)):
            pointer = kernel.func.params[len(kernel.params) + len(kernel.sizes) + number]
            arguments.append(_pointer(owners["workspace"], self.offsets[(step, number)], pointer))
        status = tirx.Var(f"status{step}", PrimType("int32"))
        result = tvm.ir.Call(self.globals[call.kernel], arguments, ret_ty=PrimType("int32"))
        failed = tirx.IfThenElse(status != 0, tirx.Evaluate(tirx.tvm_throw_last_error()), None)
        return [tirx.Bind(status, result), failed]

    # --- what tools read --------------------------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        """The content of ``tz.program``."""
        return {
            "inputs": [self._input(index, view) for index, view in enumerate(self.sequence.inputs)],
            "outputs": [_tensor(f"output{index}", view) for index, view in enumerate(self.sequence.outputs)],
            "weights_bytes": len(self.weights),
            "workspace_bytes": self.workspace_bytes,
            "calls": [
                {
                    "kernel": call.kernel,
                    "inputs": [self._argument(view) for view in call.inputs],
                    "outputs": [self._argument(view) for view in call.outputs],
                    "temporaries": self.kernels[call.kernel].temporaries,
                    "copy": call.kernel in self.sequence.copies,
                    "flops": self.flops.get(call.kernel),
                }
                for call in self.sequence.calls
            ],
            "buffers": [
                {
                    "name": key.name if isinstance(key, Storage) else f"{self.sequence.calls[key[0]].kernel}.{key[1]}",
                    "offset": offset,
                    "nbytes": lifetime.nbytes,
                    "first": lifetime.first,
                    "last": lifetime.last,
                }
                for (key, offset), lifetime in zip(self.offsets.items(), self.lifetimes)
            ],
        }

    def _input(self, index: int, view: View) -> dict[str, Any]:
        strides = self._input_buffer(index, view).strides
        fixed = [int(stride) if isinstance(stride, tirx.IntImm) else None for stride in strides]
        return {**_tensor(self.sequence.names[index], view), "strides": fixed or None}

    def _argument(self, view: View) -> dict[str, Any]:
        kind, number, offset = self._address(view)
        return {"in": kind, "number": number, "offset": offset, "nbytes": view.nbytes, **_tensor(None, view)}


def _tensor(name, view: View) -> dict[str, Any]:
    shape = [extent if isinstance(extent, int) else None for extent in view.shape]
    return {**({} if name is None else {"name": name}), "shape": shape, "dtype": view.dtype}


def _raw_kernels(mod: tvm.IRModule, sequence: CallSequence) -> dict[str, RawKernel]:
    used = {call.kernel: None for call in sequence.calls}
    scheduled = {name: sequence.copies.get(name) or mod[name] for name in used}
    # Buffers move to where they are used first, so that what is left at the root is what lives across loops.
    located = tvm.transform.Sequential(
        [
            s_tir.transform.CanonicalizeLoop(),
            s_tir.transform.LowerCrossThreadReduction(),
            s_tir.transform.LowerInitBlock(),
            s_tir.transform.PlanAndUpdateBufferAllocationLocation(),
        ]
    )(tvm.IRModule(scheduled))
    return {name: make_raw(located[name]) for name in used}


def _flops(mod: tvm.IRModule, names) -> dict[str, int]:
    """Floating-point operations of the kernels for which ApplySchedules noted them."""
    attrs = {name: mod[name].attrs for name in names if name in {var.name_hint for var in mod.get_global_vars()}}
    return {name: int(a[arithmetic.ATTRIBUTE]) for name, a in attrs.items() if a and arithmetic.ATTRIBUTE in a}


def _weights(sequence: CallSequence):
    offsets, total = {}, 0
    for digest, data in sequence.constants.items():
        offsets[digest] = total
        total = align_up(total + data.nbytes)
    blob = np.zeros(max(total, ALIGNMENT), "uint8")
    for digest, data in sequence.constants.items():
        blob[offsets[digest] : offsets[digest] + data.nbytes] = np.frombuffer(data.tobytes(), "uint8")
    return blob, offsets


def _pointer(owner: tirx.Buffer, offset: int, param: tirx.Var):
    """Address of a byte of a main's buffer, as the kernel's element type."""
    pointer_type = PointerType(PrimType(str(param.dtype)), "global") if is_buffer(param) else param.ty
    pointer = tirx.reinterpret(PointerType(PrimType("void")), owner.data)
    if offset:
        pointer = tirx.handle_add_byte_offset(pointer, offset)
    return tirx.reinterpret(pointer_type, pointer)


def _match_sizes(param: tirx.Buffer, view: View, owner: tirx.Buffer, sizes: dict[tirx.Var, Any]) -> None:
    """Values of the variables in a kernel's buffer: sizes from the argument, strides from the caller's tensor."""
    dense = [1]
    for extent in reversed(view.shape[1:]):
        dense.insert(0, dense[0] * extent)
    strides = owner.strides if view.storage.kind == "input" and owner.strides else dense
    pairs = [*zip(param.shape, view.shape), *zip(param.strides, strides), (param.elem_offset, 0)]
    for variable, value in pairs:
        if not isinstance(variable, tirx.Var):
            continue
        value = _int64(value)
        known = sizes.setdefault(variable, value)
        if not sym.Analyzer().can_prove_equal(known, value):
            raise LoweringError(f"a kernel calls both {known} and {value} {variable.name}; give it a variable for each")


def _int64(extent):
    """A size as DLPack has it, so that sizes and strides have one type."""
    return tirx.IntImm("int64", int(extent)) if isinstance(extent, (int, tirx.IntImm)) else extent


def _request_amx() -> tirx.Stmt:
    """Asks Linux for the tiles, which a process must do once; asking again does nothing."""
    numbers = (SYS_ARCH_PRCTL, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
    refused = tirx.call_extern("int64", "syscall", *(tirx.IntImm("int64", number) for number in numbers))
    return tirx.AssertStmt(  # 0.27.0's constructor names its first two arguments the wrong way round
        refused == 0,
        tvm.ir.StringImm("RuntimeError"),
        [tvm.ir.StringImm("Linux does not let this process use AMX, which this program was compiled for")],
    )


def _read_clock(clock: tirx.Buffer, step: int) -> tirx.Stmt:
    place = tirx.address_of(clock[step, 0])
    return tirx.Evaluate(tirx.call_extern("int32", "clock_gettime", CLOCK_MONOTONIC, place))
