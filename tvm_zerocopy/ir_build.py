"""Which intermediate representation the installed TVM gives this package: Relax (0.27) or Relay (0.16 to 0.19)."""

import importlib.util
from pathlib import Path

from .errors import UnsupportedError

_ROADS = {
    "relax": "apache-tvm 0.27 (Python 3.10 or newer)",
    "relay": "TVM 0.16 to 0.19, whose passes are tvm_zerocopy.passes.relay",
}


def intermediate_representation() -> str:
    """``"relax"`` or ``"relay"``. TVM 0.16 to 0.19 have both; their Relax is too old for this package.

    Raises UnsupportedError if there is no TVM, or one with neither.
    """
    spec = importlib.util.find_spec("tvm")
    if spec is None:
        raise UnsupportedError(f"TVM is not installed; install {_ROADS['relax']}, or {_ROADS['relay']}")
    # looked up as folders: finding a submodule's spec would import TVM, which running an artifact does not need
    for name, folder in (("relax", "tirx"), ("relay", "relay")):
        if any(Path(root, folder, "__init__.py").exists() for root in spec.submodule_search_locations or ()):
            return name
    raise UnsupportedError(
        f"this TVM build has no IR known here; install {_ROADS['relax']} or a build of {_ROADS['relay']}"
    )


def require(representation: str, what: str) -> None:
    """Raise UnsupportedError unless the TVM build has ``representation``; ``what`` needs it."""
    found = intermediate_representation()
    if found != representation:
        raise UnsupportedError(
            f"{what} needs {representation.capitalize()}, and this TVM build has {found.capitalize()}; "
            f"install {_ROADS[representation]}"
        )
