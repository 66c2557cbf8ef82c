"""TIR's expression constructors as ``tir``; TVM 0.26 renamed ``tvm.tir`` to ``tvm.tirx``."""

try:
    from tvm import tirx as tir
except ImportError:  # TVM up to 0.25
    from tvm import tir

__all__ = ["tir"]
