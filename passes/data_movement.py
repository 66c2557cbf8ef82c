"""Recognizes kernels that compute nothing: each element they store is one they load (or a constant border)."""

from __future__ import annotations

import tvm_ffi
from tvm import tirx
from tvm.ir import Call, TensorLoad


def movement(func: tirx.PrimFunc) -> str | None:
    """Why a kernel moves bytes, as a reason of `copy_report.REASONS`; None if it computes.

    Sees kernels in TensorIR, before or after scheduling. A kernel that computes on the way (an activation fused into a
    transpose) is no copy: the bytes had to be written anyway.
    """
    stores = []
    tvm_ffi.structural_walk(func.body, [(tirx.BufferStore, stores.append)])
    loads, constants, converts = [], False, False
    for store in stores:
        values = _moved(store.value)
        if values is None:
            return None
        for value, converted in values:
            converts |= converted
            if isinstance(value, TensorLoad):
                loads.append((value, store))
            else:
                constants = True
    if not loads:
        return None
    stored = [store.buffer for store in stores]
    sources = _distinct([load.source for load, _ in loads if not _holds(stored, load.source)])
    read = [load.source for load, _ in loads]
    targets = _distinct([buffer for buffer in stored if not _holds(read, buffer)])
    return _reason(sources, targets, constants, converts, loads)


def _reason(sources, targets, constants, converts, loads) -> str:
    if converts:
        return "convert"
    if len(sources) > 1:
        return "concat"
    if any(len(load.indices) != len(store.indices) for load, store in loads):
        return "layout change"  # to or from channel blocks, which may add or drop padding
    elements_in, elements_out = sum(map(_elements, sources)), sum(map(_elements, targets))
    if constants:
        return "pad"
    if len(targets) > 1 or elements_out < elements_in:
        return "split"
    if elements_out > elements_in:
        return "upsample"
    return "copy" if all(_same_place(load, store) for load, store in loads) else "layout change"


def _same_place(load, store) -> bool:
    return len(load.indices) == len(store.indices) and all(map(tvm_ffi.structural_equal, load.indices, store.indices))


def _moved(value):
    """[(load or constant, was its dtype converted)] that the value selects from; None if it is computed."""
    if isinstance(value, (TensorLoad, tirx.IntImm, tirx.FloatImm)):
        return [(value, False)]
    if isinstance(value, tirx.Cast):
        inner = _moved(value.value)
        return None if inner is None else [(leaf, True) for leaf, _ in inner]
    if isinstance(value, tirx.Broadcast):
        return _moved(value.value)
    branches = None
    if isinstance(value, tirx.Select):
        branches = (value.true_value, value.false_value)
    elif isinstance(value, Call) and getattr(value.op, "name", "") == "prim.if_then_else":
        branches = value.args[1:]
    if branches is None:
        return None
    moved = [_moved(branch) for branch in branches]
    return None if None in moved else [leaf for leaves in moved for leaf in leaves]


def _holds(buffers, buffer) -> bool:
    return any(buffer.same_as(other) for other in buffers)


def _distinct(buffers) -> list:
    found = []
    for buffer in buffers:
        if not _holds(found, buffer):
            found.append(buffer)
    return found


def _elements(buffer) -> int:
    """Elements of a buffer; symbolic axes count as one (they are on both sides)."""
    count = 1
    for extent in buffer.shape:
        count *= int(extent) if isinstance(extent, tirx.IntImm) else 1
    return count
