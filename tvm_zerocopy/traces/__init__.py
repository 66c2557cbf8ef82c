"""Where time and bytes go, event by event: traces for Perfetto, and what Nsight Systems exports say."""

from .events import TraceEvent, write_trace
from .moves import GpuKernel, GpuMove, GpuMoves
from .nsight import read_nsight
from .record import trace_engine

__all__ = ["GpuKernel", "GpuMove", "GpuMoves", "TraceEvent", "read_nsight", "trace_engine", "write_trace"]
