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
    amx : bool
        Whether it multiplies tiles of bfloat16.
    """

    lanes: int
    registers: int
    cores: int
    amx: bool = False


def machine_of(target: Target) -> Machine:
    """Read off the target's features (``-mcpu``, ``-mattr``); nothing is measured."""
    cores = int(target.attrs.get("num-cores") or 1)
    triple = str(target.attrs.get("mtriple") or codegen.llvm_get_system_triple())
    if triple.startswith(("aarch64", "arm64")):
        return Machine(lanes=4, registers=32, cores=cores)
    if triple.startswith("arm"):
        return Machine(lanes=4, registers=16, cores=cores)
    features = codegen.llvm_get_cpu_features(target)
    if "avx512f" in features:
        return Machine(lanes=16, registers=32, cores=cores, amx={"amx-tile", "amx-bf16"} <= set(map(str, features)))
    if "avx" in features:
        return Machine(lanes=8, registers=16, cores=cores)
    return Machine(lanes=4, registers=16, cores=cores)
