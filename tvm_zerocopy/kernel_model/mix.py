"""What a kernel's launch is and what one of its warps executes."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

WARP = 32


@dataclass
class Mix:
    """A kernel's launch and what one warp executes.

    Attributes
    ----------
    grid, block : tuple of int
        Blocks and threads along x, y and z.
    shared_bytes : int
        Of the buffers in shared memory.
    fp32, fp16, special : float
        Instructions of one thread: float32 operations (a multiply-add is one), float16 ones in pairs, transcendentals.
    flop : float
        Floating-point operations of the whole kernel; a multiply-add is two. Tensor cores' included.
    tensor_multiply_adds : float
        Of one warp.
    memory_instructions, global_loads : float
        Loads and stores of one thread; those of its loads that read global memory.
    shared_cycles : float
        Cycles that one warp's shared accesses take the SM: one a 128-byte wavefront, more where banks conflict.
    global_bytes : float
        Bytes in 32-byte sectors that one warp's global accesses touch.
    argument_bytes : int
        Of the kernel's buffers, each once.
    barriers : float
        Of one block.
    assumed : list of str
        Loops whose length lies in memory, counted with one that the kernel declares or that its buffers' sizes allow.
    unknown : list of str
        What was counted as one step because nothing tells its length.
    """

    grid: tuple = (1, 1, 1)
    block: tuple = (1, 1, 1)
    shared_bytes: int = 0
    fp32: float = 0.0
    fp16: float = 0.0
    special: float = 0.0
    flop: float = 0.0
    tensor_multiply_adds: float = 0.0
    memory_instructions: float = 0.0
    global_loads: float = 0.0
    shared_cycles: float = 0.0
    global_bytes: float = 0.0
    argument_bytes: int = 0
    barriers: float = 0.0
    assumed: list = field(default_factory=list)
    unknown: list = field(default_factory=list)

    @property
    def blocks(self) -> int:
        return int(np.prod(self.grid))

    @property
    def threads(self) -> int:
        """Of a block."""
        return int(np.prod(self.block))

    @property
    def warps(self) -> int:
        """Of a block."""
        return -(-self.threads // WARP)

    def thread_indices(self) -> dict[str, np.ndarray]:
        """{thread tag: index along its axis} of the block's threads, in the order in which they form warps."""
        thread, (x, y, _) = np.arange(self.threads), self.block
        return {"threadIdx.x": thread % x, "threadIdx.y": thread // x % y, "threadIdx.z": thread // (x * y)}
