"""How often the loops of a kernel run."""

from __future__ import annotations

import numpy as np
from tvm import tirx
from tvm.ir.expr import TensorLoad
from tvm_ffi import structural_walk

from ..passes.block_reduce import TRIPS
from .lanes import Unknown, evaluate
from .memory import buffer_bytes, buffer_lanes, element_bytes
from .mix import WARP, Mix


class Trips:
    """Lengths of loops for one block's threads.

    A warp goes on until its last lane is done; the length is the mean over the block's warps of that. Inside of outer
    loops it is the one in the middle of each, which is the mean where it grows evenly.

    Where the length lies in memory, it is what the loop's annotation declares, the usual one or the longest. Without
    that, it is the longest that keeps the loop's accesses inside of their buffers: a bound, not an expectation. Where
    no access tells it, it is one step.

    Parameters
    ----------
    mix : Mix
        With its block; takes the names of loops whose length lies in memory, ``assumed`` or ``unknown``.
    variables : list of (tirx.Var, str)
        Of the launch, with their thread tags.
    longest : bool
        Of declared lengths take the longest.
    """

    def __init__(self, mix: Mix, variables, longest: bool):
        self.mix, self.longest = mix, longest
        self.bound = {}  # variable: its expression
        index = mix.thread_indices()
        self.values = _Lazy(self)
        for var, tag in variables:
            self.values[var] = index.get(tag, np.int64(0))

    def bind(self, var, value) -> None:
        """A variable that the code defines."""
        self.bound[var] = value
        self.values.pop(var, None)

    def enter(self, loop) -> None:
        """What follows is inside of that loop."""
        try:
            extent = self._mean(evaluate(loop.extent, self.values))
        except Unknown:
            extent = self._of_memory(loop)[0]
        self.values[loop.loop_var] = (extent - 1) / 2 if extent > 1 else np.int64(0)

    def of(self, loop) -> float:
        """How often the body runs in a thread."""
        try:
            return self._mean(evaluate(loop.extent, self.values))
        except Unknown:
            extent, names = self._of_memory(loop)
            names.append(f"loop {loop.loop_var.name}")
            return extent

    def _of_memory(self, loop):
        declared = loop.annotations.get(TRIPS) if loop.annotations else None
        if declared is not None:
            return int(declared[1 if self.longest else 0]), self.mix.assumed
        allowed = self._allowed(loop)
        return (1, self.mix.unknown) if allowed is None else (allowed, self.mix.assumed)

    def _allowed(self, loop):
        """The longest that the sizes of the buffers allow; None if they do not tell."""
        found = []

        def access(buffer, indices):
            if len(indices) != 1 or not all(isinstance(extent, tirx.IntImm) for extent in buffer.shape):
                return
            try:
                first, second = (evaluate(indices[0], _With(self.values, loop.loop_var, step)) for step in (0, 1))
            except Unknown:
                return
            step = np.min(second - first)
            size = buffer_bytes(buffer) // (element_bytes(buffer) * buffer_lanes(buffer))
            if step > 0:
                found.append(self._mean((size - 1 - first) // step + 1))

        structural_walk(loop.body, (tirx.BufferStore, lambda store: access(store.buffer, store.indices)))
        structural_walk(loop.body, (TensorLoad, lambda load: access(load.source, load.indices)))
        return min(found) if found else None

    def _mean(self, lengths) -> float:
        """Over the warps, of each one's longest."""
        lengths = np.maximum(np.asarray(lengths), 0)
        if lengths.ndim == 0:
            return lengths.item()
        return float(np.mean([lengths[start : start + WARP].max() for start in range(0, len(lengths), WARP)]))


class _Lazy(dict):
    """Values of variables for all threads; those that the code defines, once they are asked for."""

    def __init__(self, trips: Trips):
        super().__init__()
        self.trips = trips

    def __contains__(self, var) -> bool:
        if super().__contains__(var):
            return True
        if var not in self.trips.bound:
            return False
        self[var] = evaluate(self.trips.bound[var], self)
        return True


class _With:
    """The same values with another one for one variable, which what the code defines follows."""

    def __init__(self, values: _Lazy, var, value: int):
        self.values, self.var, self.value = values, var, np.int64(value)

    def __contains__(self, var) -> bool:
        return var.same_as(self.var) or var in self.values.trips.bound or var in self.values

    def __getitem__(self, var):
        if var.same_as(self.var):
            return self.value
        bound = self.values.trips.bound
        return evaluate(bound[var], self) if var in bound else self.values[var]
