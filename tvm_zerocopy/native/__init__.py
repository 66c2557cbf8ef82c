"""A runner in C++: artifacts on boards where neither Python nor a compiler is wanted, only TVM's runtime."""

from .runner import build_runner, runtime_folders

__all__ = ["build_runner", "runtime_folders"]
