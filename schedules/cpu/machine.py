"""What a schedule needs to know of a CPU: vector width, registers, cores."""

from __future__ import annotations

from dataclasses import dataclass

from tvm.target import Target, codegen


@dataclass(frozen=True)
class Machine:
    """One core's vector unit and how many cores there are.

    Attributes
    ----------
    lanes : int
        float32 lanes of a vector register; also the channels in a block of the blocked layout.
    registers : int
        Architectural vector registers.
    cores : int
    bfloat16 : str
        What multiplies bfloat16 ("amx", "avx512_bf16" or "neon_bf16", as `passes.bfloat16_conv2d` names them); empty:
        nothing.
    """

    lanes: int
    registers: int
    cores: int
    bfloat16: str = ""


def machine_of(target: Target) -> Machine:
    """Read off the target's features (``-mcpu``, ``-mattr``); nothing is measured."""
    cores = int(target.attrs.get("num-cores") or 1)
    triple = str(target.attrs.get("mtriple") or codegen.llvm_get_system_triple())
    if triple.startswith(("aarch64", "arm64")):
        bfloat16 = "neon_bf16" if "bf16" in codegen.llvm_get_cpu_features(target) else ""
        return Machine(lanes=4, registers=32, cores=cores, bfloat16=bfloat16)
    if triple.startswith("arm"):
        return Machine(lanes=4, registers=16, cores=cores)
    features = codegen.llvm_get_cpu_features(target)
    if "avx512f" in features:
        amx = "amx-tile" in features and "amx-bf16" in features
        bfloat16 = "amx" if amx else "avx512_bf16" if "avx512bf16" in features else ""
        return Machine(lanes=16, registers=32, cores=cores, bfloat16=bfloat16)
    if "avx" in features:
        return Machine(lanes=8, registers=16, cores=cores)
    return Machine(lanes=4, registers=16, cores=cores)
