"""What the tuner needs of the machine it runs on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from ..diagnosis.machine import cpu_name
from ..errors import UnsupportedError

__all__ = ["Gpu", "cpu_name", "host_target", "local_gpu", "peak_gflops", "require_compiler"]


@dataclass(frozen=True)
class Gpu:
    """A CUDA GPU: its name, and its architecture as ``sm_90``."""

    name: str
    arch: str


def local_gpu() -> Gpu | None:
    """This machine's first CUDA GPU, or None."""
    import tvm

    device = tvm.cuda(0)
    if not device.exist:
        return None
    return Gpu(device.device_name, "sm_" + device.compute_version.replace(".", ""))


def host_target() -> dict:
    """This machine's CPU, as the host of a GPU's target."""
    from ..targets import host_cpu

    return host_cpu()


def peak_gflops(target) -> float:
    """Measured multiply-add peak of all allowed cores, GFLOP/s (see ``diagnosis.peak``)."""
    from tvm.target import codegen

    from ..diagnosis import peak

    names = {str(feature) for feature in codegen.llvm_get_cpu_features(target)}
    lanes = 16 if "avx512f" in names else 8 if "avx" in names else 4
    return peak.measure(target, lanes)


def require_compiler() -> None:
    """Candidates become shared libraries, which needs a C compiler.

    Raises
    ------
    UnsupportedError
    """
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        raise UnsupportedError("tuning links its candidates with a C compiler and none was found; install gcc or clang")
