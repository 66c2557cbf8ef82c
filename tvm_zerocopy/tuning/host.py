"""What the tuner needs of the machine it runs on."""

from __future__ import annotations

import shutil

from ..diagnosis.machine import cpu_name
from ..errors import UnsupportedError

__all__ = ["cpu_name", "peak_gflops", "require_compiler"]


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
