"""TVM itself: does it import, what was it built with, does its FFI hold."""

import ctypes
import importlib.util
import os
from pathlib import Path

from .known_failures import FFI_MEND, INSTALL, REINSTALL, installed, last_line
from .result import CheckResult, fail, ok, warn


def tvm_import() -> CheckResult:
    """Import TVM: fails by name where the library is missing, half-built or mixed with another version."""
    import tvm

    from . import compat  # uses what every TVM has

    runtime_only = getattr(getattr(tvm, "base", None), "_RUNTIME_ONLY", False)
    detail = f"TVM {tvm.__version__} from {tvm.__path__[0]}"
    if compat.global_func("runtime.NumThreads") is None:
        return fail(detail + " has no runtime in its core library", INSTALL, version=tvm.__version__)
    return ok(detail, version=tvm.__version__, runtime_only=runtime_only)


def tvm_build() -> CheckResult:
    """What the core library was built with: LLVM is needed, CUDA where there is an NVIDIA GPU."""
    import tvm

    from . import compat
    from .unified_memory import driver

    if getattr(getattr(tvm, "base", None), "_RUNTIME_ONLY", False):
        if os.environ.get("TVM_USE_RUNTIME_LIB") == "1":
            why, mend = "TVM_USE_RUNTIME_LIB=1 asks for that", "unset TVM_USE_RUNTIME_LIB"
        else:
            why, mend = _why_no_compiler(), REINSTALL
        return fail(f"only TVM's runtime is here, so nothing can be compiled: {why}", mend)
    backends = {name: compat.global_func(f"target.build.{name}") is not None for name in ("llvm", "cuda", "nvptx", "c")}
    llvm = compat.global_func("target.llvm_version_major")
    parts = {
        "llvm": llvm() if llvm and backends["llvm"] else None,
        "backends": [name for name, there in backends.items() if there],
        "frontends": [name for name in ("relax", "relay") if hasattr(tvm, name) or _imports(f"tvm.{name}")],
        "tuners": [
            n for n in ("s_tir.meta_schedule", "meta_schedule", "auto_scheduler", "autotvm") if _imports("tvm." + n)
        ],
        "library": {k: str(v) for k, v in tvm.support.libinfo().items() if k.startswith(("USE_", "GIT_", "LLVM"))},
    }
    detail = f"LLVM {parts['llvm']}, backends {' '.join(parts['backends'])}, {' '.join(parts['frontends'])}"
    detail += f", tuners {' '.join(parts['tuners']) or 'none'}"
    if not backends["llvm"]:
        mend = "build TVM with USE_LLVM=ON, or " + INSTALL
        return fail(f"this TVM was built without LLVM, so it cannot compile for the CPU ({detail})", mend, **parts)
    if not backends["cuda"] and driver() is not None:
        mend = "build TVM with USE_CUDA=ON, or " + INSTALL
        return warn(f"this TVM was built without CUDA, and there is an NVIDIA GPU ({detail})", mend, **parts)
    return ok(detail, **parts)


def _imports(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ImportError:
        return False


def _why_no_compiler() -> str:
    import tvm

    library = Path(tvm.__path__[0]) / "lib" / "libtvm_compiler.so"
    if not library.exists():
        return "libtvm_compiler is missing"
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return last_line(str(error))
    return "libtvm_compiler did not load"


def tvm_ffi() -> CheckResult:
    """Save a module as JSON and read it back: the step at which TVM 0.27 dies of apache-tvm-ffi 0.1.15."""
    import tvm
    from tvm import te

    x = te.placeholder((4,), name="x")
    func = te.create_prim_func([x, te.compute((4,), lambda i: x[i] + x[i], name="y")])
    again = tvm.ir.load_json(tvm.ir.save_json(tvm.IRModule({"main": func})))
    version = installed("apache-tvm-ffi")
    named = f"apache-tvm-ffi {version}" if version else "TVM's own FFI"
    equal = getattr(tvm.ir, "structural_equal", None)
    if equal is not None and not equal(again["main"], func):
        return fail(f"{named} does not read back the module that it saved", FFI_MEND)
    return ok(f"{named} saves a module and reads it back")
