"""What `tune` asks of a TVM build: one class with the same methods where it has Relax and where it has Relay."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from ..errors import UnsupportedError
from ..ir_build import intermediate_representation
from . import manifest

RELAY_TUNERS = ("autotvm", "ansor")  # what TVM had until 0.19


@dataclass(frozen=True)
class Options:
    """What to tune and how.

    Attributes
    ----------
    model : path
    target : str
    shapes : as for ``tvm_zerocopy.compile``
    folder : path
        Of the growing log.
    tuner : str
        "metaschedule", "autotvm" or "ansor".
    space : {"design", "generic"}
        This package's design spaces, or the tuner's own search.
    trials : int or None
        At most so many; None: the whole space.
    threads : int
    seed : int
    rpc : (str, int, str) or None
        Host, port and key of a device at a TVM RPC tracker.
    precision : str
        As for ``tvm_zerocopy.compile``.
    measure : {"local", "other_arch", "predicted"} or None
        How candidates for a GPU get their time; see ``means.means_for``.
    finalists : int
        Candidates of each kernel that are compared with its default inside the network; 0: none.
    """

    model: str
    target: str
    shapes: tuple | None
    folder: Path
    tuner: str
    space: str
    trials: int | None
    threads: int
    seed: int
    rpc: tuple | None
    precision: str = "float32"
    measure: str | None = None
    finalists: int = 0


def road():
    """The module with ``Run``, ``check`` and ``merge`` for the IR of this TVM build."""
    name = "relax_run" if intermediate_representation() == "relax" else "relay.run"
    return importlib.import_module(f"{__package__}.{name}")


def check_tuner(tuner: str) -> None:
    """Raise UnsupportedError if this TVM build has no such tuner."""
    if tuner in RELAY_TUNERS and intermediate_representation() == "relax":
        raise UnsupportedError(
            f"{tuner} left TVM with Relay, in 0.20; use --tuner {manifest.METASCHEDULE}, or a TVM 0.16 to 0.19"
        )
