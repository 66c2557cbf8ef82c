"""Tests of the Relay passes; they need a TVM build with Relay, and share their tables with the Relax tests."""

import importlib.util
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "passes"))

if importlib.util.find_spec("tvm.relay") is None:
    collect_ignore_glob = ["test_*.py"]
