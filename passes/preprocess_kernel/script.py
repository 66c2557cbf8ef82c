"""The TIR dialect of TVM's IRBuilder as ``T``, under its names since TVM 0.26."""

try:
    from tvm.script.ir_builder import tirx as T
except ImportError:  # TVM up to 0.25
    from .script_before_tirx import T

__all__ = ["T"]
