"""The tuners of a TVM build with Relay, by name; each is imported when it is asked for."""

from __future__ import annotations

import importlib

from ...errors import UnsupportedError
from .tuner import Tuner

_HOMES = {"autotvm": "AutoTvm", "ansor": "Ansor", "metaschedule": "MetaSchedule"}
NAMES = tuple(_HOMES)


def tuner_of(name: str) -> Tuner:
    """The tuner with its usual options.

    Raises
    ------
    UnsupportedError
        If this TVM build lacks it.
    """
    try:
        return getattr(importlib.import_module(f"{__package__}.{name}"), _HOMES[name])()
    except ImportError as error:
        raise UnsupportedError(f"{name} cannot be used here: {error}") from error
