"""How the kernels' loops run on a target and where their few scalars live. The loop bodies are the same everywhere."""

from .script import T

# float32 lanes that one step of an inner loop handles: one AVX-512 register, two AVX2 or four NEON ones
LANES = 16


class CpuLoops:
    """Outer loops over the thread pool, inner loops as vector instructions."""

    # TVM puts a small "global" buffer on the stack; a "local" one would be allocated at each call.
    scope = "global"

    @staticmethod
    def parallel(extent):
        return T.parallel(extent)

    @staticmethod
    def lanes(extent=LANES):
        return T.vectorized(extent)


class GpuLoops:
    """One thread a chunk: right, not fast."""

    scope = "local"

    @staticmethod
    def parallel(extent):
        return T.thread_binding(extent, thread="blockIdx.x")

    @staticmethod
    def lanes(extent=LANES):
        return T.serial(extent)


def is_gpu(target) -> bool:
    """Whether a ``tvm.target.Target`` is one; None means the CPU."""
    return target is not None and "gpu" in target.keys


def loops_for(target):
    """The loops for a ``tvm.target.Target``; None means the CPU."""
    return GpuLoops if is_gpu(target) else CpuLoops
