"""Allocations and copies a frame on a GPU, by the driver's record of what a run submits: its CUDA graph."""

from __future__ import annotations

import gc

from ..buffers import cuda
from .measure import Place, StepCount
from .pipelines import input_buffers

FUNCTIONS = {"copy": "cudaMemcpyAsync", "allocation": "cudaMallocAsync"}


def count(engine) -> StepCount:
    """One frame of an engine that runs on CUDA, bound to managed memory.

    The GPU's side alone: what Python and the driver allocate on the host to submit it is not counted.

    Raises
    ------
    UnsupportedError
        If CUDA or a GPU is missing, or the run takes memory from the device past its stream.
    """
    stream = cuda.Stream(0)
    with engine.bind(input=input_buffers(engine)) as binding:
        binding.run()  # loads the kernels
        gc.collect()
        gc.disable()  # memory that it gives back meanwhile would count as the run's
        try:
            nodes = cuda.runtime().record(stream.handle, binding.launch)
        finally:
            gc.enable()
    places = []
    for kind, function in FUNCTIONS.items():
        sizes = [nbytes for what, nbytes in nodes if what == kind]
        if sizes:
            places.append(Place(kind, function, len(sizes), sum(sizes), "the program", False))
    return StepCount(f"bound.run(): {len(nodes)} graph nodes", 1, 0, tuple(places))
