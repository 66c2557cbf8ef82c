"""TVMScript's TIR dialect as ``T``. TVM 0.26 renamed ``tvm.tir`` to ``tvm.tirx`` and ``block`` to ``sblock``.

The kernels of this package keep to what both speak (no ``T.let``, no spatial blocks), for builds that still have Relay.
"""

try:
    from tvm.script import tirx as T

    sblock = T.sblock
except ImportError:  # TVM up to 0.25
    from .script_before_tirx import T

    sblock = T.block

__all__ = ["T", "sblock"]
