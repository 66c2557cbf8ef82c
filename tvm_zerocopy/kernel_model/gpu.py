"""GPUs as the model sees them: limits of an SM, rates a clock, memory."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UnsupportedError


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes
    ----------
    name, arch : str
    sms : int
        Streaming multiprocessors.
    clock_hz, memory_bytes_per_s : float
        Highest clock of the SMs, peak of the DRAM (shared with the CPU on Jetson).
    warps, blocks, registers, shared_bytes : int
        Most of each on one SM at a time.
    block_shared_bytes : int
        Most shared memory of one block, with the opt-in.
    block_reserved_bytes : int
        Shared memory that CUDA takes of every block.
    fp32_lanes, fp16_lanes, special_lanes : int
        Multiply-adds (one-lane) an SM starts a clock in float32 and as half2; transcendental operations.
    tensor_multiply_adds : int
        Dense float16 multiply-adds of an SM's tensor cores a clock.
    l2_bytes_per_clock : int
        From L2 to one SM.
    """

    name: str
    arch: str
    sms: int
    clock_hz: float
    memory_bytes_per_s: float
    warps: int
    blocks: int
    shared_bytes: int
    block_shared_bytes: int
    tensor_multiply_adds: int
    l2_bytes_per_clock: int = 32
    registers: int = 65536
    block_reserved_bytes: int = 0
    fp32_lanes: int = 64
    fp16_lanes: int = 128
    special_lanes: int = 16

    @property
    def fp32_flops(self) -> float:
        """Peak of the CUDA cores, FLOP/s."""
        return 2 * self.fp32_lanes * self.sms * self.clock_hz

    @property
    def fp16_flops(self) -> float:
        """Peak of the CUDA cores in half2, FLOP/s."""
        return 2 * self.fp16_lanes * self.sms * self.clock_hz

    @property
    def tensor_flops(self) -> float:
        """Peak of the tensor cores in float16, FLOP/s."""
        return 2 * self.tensor_multiply_adds * self.sms * self.clock_hz


# Limits: CUDA C++ Programming Guide, "Technical Specifications per Compute Capability" and "Arithmetic Instructions".
# SMs, clocks and memory: NVIDIA's data sheets (Jetson AGX Xavier at MAXN, V100 SXM2, A100 SXM4 40 GB, Jetson AGX Orin
# 64 GB at MAXN, H100 SXM). Tensor cores: 64 multiply-adds a clock each on Volta, eight of them in an SM (Volta
# whitepaper); 1024 an SM on Ampere, 512 on Orin's, 2048 on Hopper. L2: assumed, 32 bytes a clock and SM on Volta
# (about half of the port's 64: Jia et al., "Dissecting the NVIDIA Volta GPU Architecture via Microbenchmarking",
# 2018), 64 later.
XAVIER = Gpu("Jetson AGX Xavier", "sm_72", 8, 1.377e9, 137e9, 64, 32, 98304, 98304, 512)
GPUS = {
    gpu.arch: gpu
    for gpu in (
        Gpu("V100", "sm_70", 80, 1.53e9, 900e9, 64, 32, 98304, 98304, 512),
        XAVIER,
        Gpu("A100", "sm_80", 108, 1.41e9, 1555e9, 64, 32, 167936, 166912, 1024, 64, block_reserved_bytes=1024),
        Gpu(
            "Jetson AGX Orin", "sm_87", 16, 1.3e9, 204.8e9, 48, 16, 167936, 166912, 512, 64,
            block_reserved_bytes=1024, fp32_lanes=128,
        ),
        Gpu(
            "H100", "sm_90", 132, 1.98e9, 3350e9, 64, 32, 233472, 232448, 2048, 64,
            block_reserved_bytes=1024, fp32_lanes=128, fp16_lanes=256,
        ),
    )
}  # fmt: skip


def gpu_of(arch: str) -> Gpu:
    """The GPU that stands for an architecture.

    Raises
    ------
    UnsupportedError
        If its figures are not here.
    """
    gpu = GPUS.get(arch.rstrip("af"))
    if gpu is None:
        raise UnsupportedError(f"the kernel model knows {', '.join(GPUS)} and not {arch}; measure there instead")
    return gpu
