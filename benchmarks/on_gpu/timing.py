"""Times by CUDA events: what is compared takes turns in one run, and what is too short for an event runs many times in
one CUDA graph."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Callable, Sequence

import numpy as np

from tvm_zerocopy.buffers import ExternalBuffer, cuda

WARM_UP = 20  # runs of each lane before any is timed
TURN = 5  # timed runs before the next lane's turn; one that is not timed comes before them


@dataclass(frozen=True)
class Lane:
    """Something to time.

    Attributes
    ----------
    name : str
    stream : int
        That ``work`` submits to.
    work : callable
    each : int
        How often the thing happens in one call of ``work``.
    """

    name: str
    stream: int
    work: Callable
    each: int = 1


class Clock:
    """CUDA events through NVIDIA's bindings."""

    def __init__(self):
        self._call = cuda.runtime()._call
        self._begin, self._end = self._call("cudaEventCreate"), self._call("cudaEventCreate")

    def milliseconds(self, lane: Lane) -> float:
        """Of one call of the lane's work, host time between its submissions included."""
        self._call("cudaEventRecord", self._begin, lane.stream)
        lane.work()
        self._call("cudaEventRecord", self._end, lane.stream)
        self._call("cudaEventSynchronize", self._end)
        return float(self._call("cudaEventElapsedTime", self._begin, self._end)) / lane.each


def take_turns(lanes: Sequence[Lane], iterations: int) -> dict[str, float]:
    """{lane: median milliseconds} of ``iterations`` runs each."""
    clock = Clock()
    for lane in lanes:
        for _ in range(WARM_UP):
            lane.work()
        cuda.runtime().synchronize(lane.stream)
    times = {lane.name: [] for lane in lanes}
    left = iterations
    while left > 0:
        for lane in lanes:
            clock.milliseconds(lane)
            times[lane.name] += [clock.milliseconds(lane) for _ in range(min(TURN, left))]
        left -= TURN
    return {name: statistics.median(each) for name, each in times.items()}


def graph_lane(name: str, stream: int, launches: Sequence[Callable]) -> Lane:
    """All launches, one after another, as one CUDA graph; each must have run before (the driver loads its kernels)."""
    runtime = cuda.runtime()
    runtime.begin_capture(stream)
    try:
        for launch in launches:
            launch()
    finally:
        graph = runtime.end_capture(stream)

    def replay(_memory=tuple(launches)):  # what the launches hold lives as long as the graph
        runtime.launch_graph(graph, stream)

    return Lane(name, stream, replay, len(launches))


def copies(nbytes: int, count: int, stream: int) -> list[Callable]:
    """``count`` copies within the device's memory, each from and to memory of its own; each moves ``nbytes``, half of
    it read and half of it written."""
    runtime = cuda.runtime()
    pairs = [[ExternalBuffer.allocate((nbytes // 2,), "uint8", kind="device") for _ in range(2)] for _ in range(count)]
    kind = runtime._api.cudaMemcpyKind.cudaMemcpyDeviceToDevice

    def copy(source, target):
        runtime._call("cudaMemcpyAsync", target.address, source.address, nbytes // 2, kind, stream)

    return [lambda pair=pair: copy(*pair) for pair in pairs]


def passes_beyond_the_cache(nbytes: int) -> int:
    """How many runs over memory of their own, ``nbytes`` each, leave nothing of the first one in the GPU's L2."""
    runtime = cuda.runtime()
    size = runtime._call("cudaDeviceGetAttribute", runtime._api.cudaDeviceAttr.cudaDevAttrL2CacheSize, 0)
    return int(np.clip(-(-2 * int(size) // nbytes), 2, 64))
