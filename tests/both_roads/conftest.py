"""Tests of what is the same on Relax and on Relay: each build of TVM runs them through its own passes."""

import importlib.util

if importlib.util.find_spec("tvm") is None:
    collect_ignore_glob = ["test_*.py"]
