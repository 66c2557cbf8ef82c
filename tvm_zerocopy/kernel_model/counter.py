"""Count what one warp of a kernel does in its code: arithmetic, memory accesses and how they fall, barriers."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import tirx
from tvm.ir.expr import TensorLoad
from tvm_ffi import structural_walk

from ..passes.block_reduce import TRIPS
from .lanes import Unknown, evaluate
from .memory import (
    BANKS,
    SECTOR,
    buffer_bytes,
    buffer_lanes,
    element_bytes,
    instructions,
    lanes_of,
    sectors,
    wavefronts,
)
from .mix import WARP, Mix
from .trips import Trips

AXES = ("x", "y", "z")
SPECIAL = ("exp", "exp2", "log", "log2", "sqrt", "rsqrt", "tanh", "sigmoid", "sin", "cos", "pow", "erf", "fast_exp")


def count(func: tirx.PrimFunc, longest: bool = False) -> Mix:
    """Count a device function as TVM's code generator gets it: launched threads, explicit loops.

    Branches count as taken (the larger one where there are two), so a padded convolution counts its border too. A loop
    counts as `Trips` says: as long as it is on average over the block's warps, or, where its length lies in memory, as
    the kernel declares: as long as it usually is, or at its longest.

    Parameters
    ----------
    func : tirx.PrimFunc
    longest : bool
        Loops whose length lies in memory as long as they can get.
    """
    counter = _Counter(longest)
    counter.launch(func.body)
    counter.arguments(func)
    counter.visit(func.body, 1.0)
    mix = counter.mix
    mix.flop += counter.thread_flop * mix.threads * mix.blocks
    mix.flop += 2 * mix.tensor_multiply_adds * mix.warps * mix.blocks
    return mix


class _Loop:
    """A loop around the statement at hand."""

    def __init__(self, var, extent: float, synchronizes: bool):
        self.var, self.extent, self.synchronizes = var, extent, synchronizes


class _Counter:
    def __init__(self, longest: bool):
        self.mix = Mix()
        self.longest = longest
        self.loops = []  # outermost first
        self.depends = {}  # of a bound variable: the loop variables it is made of
        self.loaded = set()  # since the last barrier: what a compiler keeps in registers
        self.values = {}  # of index variables, one a lane of the first warp
        self.thread_flop = 0.0
        self.fragments = {}  # of a wmma buffer: m * n * k
        self.declared = None  # how often the while loop that comes next runs

    # --- launch -----------------------------------------------------------------------------------------------------

    def launch(self, body) -> None:
        """Grid, block, and the first warp's thread indices."""
        extents = {}

        def visit(node):
            if node.attr_key == "thread_extent":
                extents[node.node.thread_tag] = int(node.value) if isinstance(node.value, tirx.IntImm) else 1
                self.variables.append((node.node.var, node.node.thread_tag))

        self.variables = []
        structural_walk(body, (tirx.AttrStmt, visit))
        self.mix.grid = tuple(extents.get(f"blockIdx.{axis}", 1) for axis in AXES)
        self.mix.block = tuple(extents.get(f"threadIdx.{axis}", 1) for axis in AXES)
        index = self.mix.thread_indices()
        for var, tag in self.variables:
            self.values[var] = index[tag][:WARP] if tag in index else np.zeros_like(index["threadIdx.x"][:WARP])
        self.trips = Trips(self.mix, self.variables, self.longest)

    def arguments(self, func) -> None:
        """Each pointer's buffer once; of several views of one pointer the largest."""
        nbytes = {}

        def visit(node):
            used = []
            structural_walk(node.data, (tirx.Var, used.append))
            for index, param in enumerate(func.params):
                if any(param.same_as(var) for var in used):
                    nbytes[index] = max(nbytes.get(index, 0), buffer_bytes(node.buffer))

        structural_walk(func.body, (tirx.DeclBuffer, visit))
        self.mix.argument_bytes = sum(nbytes.values())

    # --- statements -------------------------------------------------------------------------------------------------

    def visit(self, stmt, times: float) -> None:
        """Count a statement that runs ``times`` times in each thread."""
        kind = type(stmt)
        if kind is tirx.SeqStmt:
            for part in stmt:
                self.visit(part, times)
        elif kind is tirx.For:
            extent = self.trips.of(stmt)
            if extent <= 0:
                return
            self.trips.enter(stmt)
            self.values[stmt.loop_var] = np.int64(0)
            self.depends[stmt.loop_var] = {stmt.loop_var}
            self.inside(_Loop(stmt.loop_var, extent, _synchronizes(stmt.body)), stmt.body, times)
        elif kind is tirx.IfThenElse:
            self.expression(stmt.condition, times)
            self.branches(stmt, times)
        elif kind is tirx.AttrStmt:
            if stmt.attr_key == TRIPS:
                self.declared = int(stmt.value if self.longest else stmt.node)
            self.visit(stmt.body, times)
        elif kind is tirx.AllocBuffer:
            if str(stmt.buffer.scope()).startswith("shared"):
                self.mix.shared_bytes += buffer_bytes(stmt.buffer)
        elif kind is tirx.Bind:
            self.bind(stmt.var, stmt.value, times)
        elif kind is tirx.BufferStore:
            self.expression(stmt.value, times)
            self.access(stmt.buffer, stmt.indices, times, store=True)
        elif kind is tirx.Evaluate:
            self.expression(stmt.value, times)
        elif kind is tirx.While:
            self.repeat(stmt, times)
        elif hasattr(stmt, "body"):
            self.visit(stmt.body, times)

    def repeat(self, stmt, times: float) -> None:
        """A while loop, as often as the attribute around it says."""
        declared, self.declared = self.declared, None
        if declared is None:
            self.mix.unknown.append("a while loop")
        else:
            self.mix.assumed.append("a while loop")
        loop = _Loop(None, 1 if declared is None else declared, _synchronizes(stmt.body))
        if loop.extent:
            self.inside(loop, stmt.body, times)

    def inside(self, loop: _Loop, body, times: float) -> None:
        """Count a loop's body."""
        self.loops.append(loop)
        if loop.synchronizes:
            self.loaded.clear()
        self.visit(body, times * loop.extent)
        self.loops.pop()

    def branches(self, stmt, times: float) -> None:
        if stmt.else_case is None:
            self.visit(stmt.then_case, times)
            return
        before, flop = vars(self.mix).copy(), self.thread_flop
        self.visit(stmt.then_case, times)
        taken, taken_flop = vars(self.mix).copy(), self.thread_flop
        vars(self.mix).update(before)
        self.thread_flop = flop
        self.visit(stmt.else_case, times)
        if taken_flop + taken["memory_instructions"] > self.thread_flop + self.mix.memory_instructions:
            vars(self.mix).update(taken)
            self.thread_flop = taken_flop

    def bind(self, var, value, times: float) -> None:
        self.expression(value, times)
        self.depends[var] = self.loop_variables(value)
        self.trips.bind(var, value)
        try:
            self.values[var] = evaluate(value, self.values)
        except Unknown:
            self.values.pop(var, None)

    # --- expressions ------------------------------------------------------------------------------------------------

    def expression(self, expr, times: float) -> None:
        """Count the floating-point operations and loads of an expression."""
        kind = type(expr)
        if kind in (tirx.IntImm, tirx.FloatImm, tirx.Var):
            return
        if kind is TensorLoad:
            self.access(expr.source, expr.indices, times, store=False)
        elif kind is tirx.Add and type(expr.a) is tirx.Mul and _is_float(expr):
            self.operation(expr, times, 2)
            for part in (expr.a.a, expr.a.b, expr.b):
                self.expression(part, times)
        elif kind is tirx.Add and type(expr.b) is tirx.Mul and _is_float(expr):
            self.operation(expr, times, 2)
            for part in (expr.b.a, expr.b.b, expr.a):
                self.expression(part, times)
        elif kind in (tirx.Add, tirx.Sub, tirx.Mul, tirx.Div, tirx.Max, tirx.Min):
            if _is_float(expr):
                self.operation(expr, times, 1, special=kind is tirx.Div)
                self.expression(expr.a, times)
                self.expression(expr.b, times)
        elif kind is tirx.Select:
            for part in (expr.condition, expr.true_value, expr.false_value):
                self.expression(part, times)
        elif kind in (tirx.Cast, tirx.Broadcast):
            self.expression(expr.value, times)
        elif kind is tirx.Shuffle:
            for part in expr.vectors:
                self.expression(part, times)
        elif kind is tirx.Let:
            self.bind(expr.var, expr.value, times)
            self.expression(expr.body, times)
        elif hasattr(expr, "args"):
            self.call(expr, times)
        elif hasattr(expr, "a") and hasattr(expr, "b"):
            self.expression(expr.a, times)
            self.expression(expr.b, times)

    def operation(self, expr, times: float, flop: int, special: bool = False) -> None:
        lanes = lanes_of(expr)
        self.thread_flop += flop * lanes * times
        if special:
            self.mix.special += lanes * times
        elif "float16" in str(expr.ty):
            self.mix.fp16 += -(-lanes // 2) * times
        else:
            self.mix.fp32 += lanes * times

    def call(self, expr, times: float) -> None:
        name = str(getattr(expr.op, "name", ""))
        short = name.rsplit(".", 1)[-1]
        if short == "tvm_storage_sync":
            self.mix.barriers += times
            self.loaded.clear()
        elif short in ("tvm_load_matrix_sync", "tvm_store_matrix_sync"):
            self.matrix(expr, times)
        elif short == "tvm_mma_sync":
            self.mix.tensor_multiply_adds += self.fragments.get(expr.args[0], 16 * 16 * 16) * times
        elif name.endswith((".ptx.mma", "ptx_legacy.mma")):
            self.mix.tensor_multiply_adds += _mma_shape(expr) * times
        else:
            if any(special == short or short.endswith("_" + special) for special in SPECIAL):
                self.operation(expr, times, 1, special=True)
            for part in expr.args:
                if not isinstance(part, str):
                    self.expression(part, times)

    def matrix(self, expr, times: float) -> None:
        """A fragment loaded or stored: on Volta each element goes to two threads, so twice its bytes move."""
        m, n, k = (int(extent) for extent in expr.args[1:4])
        self.fragments[expr.args[0]] = m * n * k
        buffers = []
        structural_walk(expr.args[5], (TensorLoad, lambda load: buffers.append(load.source)))
        dtype_bytes = element_bytes(buffers[0]) if buffers else 2
        scope = str(buffers[0].scope()) if buffers else "shared"
        nbytes = m * k * dtype_bytes
        self.mix.memory_instructions += times * max(1, nbytes // (WARP * 16))
        if scope.startswith("shared"):
            self.mix.shared_cycles += 2 * nbytes / (4 * BANKS) * times
        else:
            self.mix.global_bytes += nbytes * times
            self.mix.global_loads += times

    # --- memory -----------------------------------------------------------------------------------------------------

    def access(self, buffer, indices, times: float, store: bool) -> None:
        scope = str(buffer.scope())
        for index in indices:
            self.expression_of_index(index, times)
        if scope in ("local", "warp") or scope.startswith("wmma") or scope.startswith("local"):
            return
        width = element_bytes(buffer) * buffer_lanes(buffer)
        try:
            offsets = np.asarray(evaluate(indices[-1], self.values)) * width
        except Unknown:
            lanes = lanes_of(indices[-1])
            offsets = (np.arange(WARP)[:, None] * lanes + np.arange(lanes)) * width  # as if side by side
        times = self.kept_in_registers(buffer, indices[-1], offsets, times, store)
        if not times:
            return
        self.mix.memory_instructions += times * instructions(indices[-1], width)
        if scope.startswith("shared"):
            self.mix.shared_cycles += wavefronts(offsets, width) * times
        else:
            self.mix.global_bytes += sectors(offsets, width) * SECTOR * times
            if not store:
                self.mix.global_loads += times

    def kept_in_registers(self, buffer, index, offsets, times: float, store: bool) -> float:
        """How often an access remains once the compiler keeps values in registers.

        Between two barriers a value is loaded and stored once, and not again by a loop whose variable its index does
        not have (pointers do not alias: TVM declares them ``__restrict__``).
        """
        variables = self.loop_variables(index)
        key = (buffer, store, offsets.tobytes(), tuple(sorted(hash(variable) for variable in variables)))
        if key in self.loaded:
            return 0.0
        self.loaded.add(key)
        for loop in reversed(self.loops):
            if loop.synchronizes:
                break
            if loop.var not in variables:
                times /= loop.extent
        return times

    def loop_variables(self, expr) -> set:
        found = []
        structural_walk(expr, (tirx.Var, found.append))
        return set().union(*(self.depends.get(var, ()) for var in found))

    def expression_of_index(self, index, times: float) -> None:
        """Loads inside an index (a table, a candidate list) are accesses too; its integer arithmetic is not counted."""

        if type(index) not in (tirx.IntImm, tirx.Var):
            loads = []
            structural_walk(index, (TensorLoad, loads.append))
            for load in loads:
                self.access(load.source, load.indices, times, store=False)


def _synchronizes(body) -> bool:
    found = []

    def visit(call):
        if str(getattr(call.op, "name", "")).endswith("tvm_storage_sync"):
            found.append(call)

    structural_walk(body, (tvm.ir.Call, visit))
    return bool(found)


def _is_float(expr) -> bool:
    return "float" in str(expr.ty)


def _mma_shape(expr) -> int:
    """``m16n8k16`` among the arguments -> 2048."""
    for argument in expr.args:
        text = str(getattr(argument, "value", argument))
        if text.startswith("m") and "n" in text and "k" in text:
            m, rest = text[1:].split("n", 1)
            n, k = rest.split("k", 1)
            return int(m) * int(n) * int(k)
    return 16 * 8 * 16
