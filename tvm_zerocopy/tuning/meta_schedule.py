"""MetaSchedule under one name: it moved from ``tvm.meta_schedule`` to ``tvm.s_tir.meta_schedule`` after TVM 0.19."""

try:
    from tvm.s_tir import meta_schedule as ms
except ImportError:
    from tvm import meta_schedule as ms

__all__ = ["ms"]
