"""The checks in the order in which they run; a later one may need an earlier one."""

from typing import List

from .result import Check

_TVM = ("TVM import",)
_COMPILER = ("TVM import", "TVM build")


def checks(logs: str = ".") -> List[Check]:
    """All checks; ``logs`` is the folder in which tuning logs, artifacts and reports will be written."""
    here = __package__
    return [
        Check("machine", f"{here}.machine:machine"),
        Check("packages", f"{here}.machine:packages"),
        Check("TVM import", f"{here}.tvm_build:tvm_import", timeout=30),
        Check("TVM build", f"{here}.tvm_build:tvm_build", needs=_TVM),
        Check("TVM FFI", f"{here}.tvm_build:tvm_ffi", needs=_COMPILER),
        Check("devices", f"{here}.devices:devices", needs=_TVM),
        Check("threads", f"{here}.machine:threads", needs=_TVM, timeout=30),
        Check("vector add", f"{here}.programs:vector_add", ("cpu",), needs=_COMPILER),
        Check("vector add CUDA", f"{here}.programs:vector_add", ("cuda",), needs=("devices", *_COMPILER)),
        Check("convolution", f"{here}.programs:convolution", needs=_COMPILER),
        Check("matmul", f"{here}.matmul:matmul", ("cpu",), needs=("vector add",), timeout=20),
        Check("matmul CUDA", f"{here}.matmul:matmul", ("cuda",), needs=("vector add CUDA",), timeout=20),
        Check("unified memory", f"{here}.unified_memory:unified_memory"),
        Check("C compiler", f"{here}.toolchains:c_compiler"),
        Check("toolchain sm_72", f"{here}.toolchains:sm_72"),
        Check("toolchain aarch64", f"{here}.toolchains:aarch64"),
        Check("disk", f"{here}.storage:disk", (logs,)),
    ]
