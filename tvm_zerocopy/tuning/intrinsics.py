"""TVM's registered tensor intrinsics: imported fast where a search uses them, and not at all where it does not.

``tvm.s_tir.tensor_intrin`` parses some hundred kernels on import, and TVM's parser takes ``inspect.stack()`` of each,
source lines included: 20 s in a process that has many modules loaded. The stack without source lines does as well.
MetaSchedule imports it with every context, whether the space tensorizes or not.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
import types
from unittest import mock

NAME = "tvm.s_tir.tensor_intrin"


def import_intrinsics() -> None:
    """Import and register the intrinsics."""
    bare_stack = inspect.stack
    with mock.patch.object(inspect, "stack", lambda context=1: bare_stack(0)):
        import tvm.s_tir.tensor_intrin  # noqa: F401


@contextlib.contextmanager
def contexts_without_intrinsics():
    """Inside, making a ``TuneContext`` does not import the intrinsics (no effect if they are imported already)."""
    with mock.patch.dict(sys.modules, {} if NAME in sys.modules else {NAME: types.ModuleType(NAME)}):
        yield
