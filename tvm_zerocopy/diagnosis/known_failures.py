"""Failures of TVM installations that people meet, recognized by what they leave behind, each with its mend."""

import importlib
import re
import signal
from typing import NamedTuple, Optional, Tuple

from ..runtime import INSTALL
from .result import CheckResult, fail

TVM, FFI = "0.27", "0.1.14"  # the versions that this package is made for
FFI_MEND = "pip install 'apache-tvm-ffi>=0.1.14,<0.1.15'"
REINSTALL = INSTALL.replace(
    "install", "install --force-reinstall --no-deps"
)  # pip leaves alone what it thinks is there
_REBUILD = (
    "finish the build (cmake --build build) and install its Python package from the same checkout, or " + REINSTALL
)


class KnownFailure(NamedTuple):
    pattern: str  # searched in the traceback or in what a crashed process left on standard error
    cause: str  # {0} stands for the pattern's first group
    mend: str


# Most specific first.
KNOWN_FAILURES = (
    KnownFailure(r"No module named 'tvm'(?!\.)", "TVM is not installed in this Python", INSTALL),
    KnownFailure(
        r"cannot import name '_ffi_api'|No module named 'tvm[\w.]*_ffi_api'|_ffi_api' has no attribute"
        r"|Cannot find object type index for",
        "TVM's Python code and its core library are of different versions (half-built or mixed TVM): the library lacks "
        "functions that the _ffi_api modules expect",
        _REBUILD + "; then check that PYTHONPATH and TVM_HOME name no other TVM",
    ),
    KnownFailure(
        r"No module named 'tvm_ffi'|No module named 'tvm\._ffi(\._cy\d|\.base)?'",
        "TVM's foreign function interface is missing (apache-tvm-ffi not installed, or its extension not built)",
        FFI_MEND + " (a source build: pip install ./3rdparty/tvm-ffi)",
    ),
    KnownFailure(
        r"cannot import name '\w+' from 'tvm(\.[\w.]+)?'",
        "this TVM is of another version than this package is made for",
        INSTALL,
    ),
    KnownFailure(
        r"file too short|invalid ELF header",
        "TVM's core library is not whole: its download or build broke off",
        _REBUILD,
    ),
    KnownFailure(
        r"version [`'](GLIBC|GLIBCXX|CXXABI)_[\d.]+' not found",
        "TVM's core library was built for a newer C/C++ runtime than this system has",
        "install a newer libstdc++ (conda install -c conda-forge libstdcxx-ng) or build TVM on this system",
    ),
    KnownFailure(
        r"libcu\w+\.so[.\d]*: cannot open shared object|libnv\w+\.so[.\d]*: cannot open shared object",
        "TVM's core library was built with CUDA and does not find CUDA's libraries",
        "install the CUDA version it was built with and put its lib64 on LD_LIBRARY_PATH",
    ),
    KnownFailure(
        r"libLLVM[-\w.]*: cannot open shared object",
        "TVM's core library was built with a shared LLVM that is not here",
        "install that LLVM version, or build TVM with a static one (USE_LLVM='llvm-config --link-static')",
    ),
    KnownFailure(
        r"undefined symbol: (\S+)",
        "TVM's core library does not match another library that it loads",
        "remove other TVM copies from LD_LIBRARY_PATH and PYTHONPATH, then " + REINSTALL,
    ),
    KnownFailure(
        r"Cannot find lib\w*tvm|Cannot find the files|[Cc]annot find libraries?:|libtvm\w*\.(so|dylib)"
        r"(: cannot open|.{0,80}(not found|cannot|can not|No such file))|Cannot find (the )?(shared )?librar",
        "TVM's core library (libtvm) is missing: the Python code is there, the compiled part is not",
        _REBUILD + "; TVM_LIBRARY_PATH can name the folder that has it",
    ),
    KnownFailure(
        r"tvm_ffi[/.].*(ImportError|AttributeError)|(cannot import name|has no attribute).*tvm_ffi"
        r"|already has a registered class.*tvm_ffi|__ffi_\w+__ must be",  # TVM 0.25 with the FFI of 0.27; the reverse
        "apache-tvm-ffi does not fit this TVM: each was made for another version of the other, or is not whole",
        REINSTALL,
    ),
    KnownFailure(
        r"target\.build\.llvm|LLVM version is not available|llvm is not enabled|codegen\.LLVM\w+.*(not|registered)",
        "this TVM was built without LLVM, so it cannot compile for the CPU",
        "build TVM with USE_LLVM=ON, or " + INSTALL,
    ),
    KnownFailure(
        r"target\.build\.cuda|cuda is not enabled|CUDA is not enabled|device_api\.cuda",
        "this TVM was built without CUDA",
        "build TVM with USE_CUDA=ON, or " + INSTALL,
    ),
    KnownFailure(
        r"cuda-bindings|No module named 'cuda'",
        "TVM's CUDA compiler (nvrtc) needs cuda-bindings",
        "pip install cuda-bindings nvidia-cuda-nvrtc nvidia-cuda-runtime",
    ),
    KnownFailure(
        r"no kernel image is available|CUDA_ERROR_NO_BINARY_FOR_GPU|[Uu]nsupported gpu arch|value for --gpu",
        "the CUDA toolkit in use does not know this GPU",
        "use a toolkit that lists it: nvcc --list-gpu-arch (sm_72 needs CUDA 12 or older)",
    ),
    KnownFailure(
        r"driver version is insufficient|CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
        "the GPU driver is older than the CUDA that TVM was built with",
        "update the driver, or use a TVM that was built with an older CUDA",
    ),
    KnownFailure(r"MemoryError|std::bad_alloc|out of memory", "memory ran out", "close other programs and try again"),
    KnownFailure(
        r"numpy.*(_ARRAY_API|compiled using NumPy 1)|No module named 'numpy",
        "numpy is missing or older than a module that was compiled for it",
        "pip install -U numpy",
    ),
    KnownFailure(
        r"No module named '(xgboost|cloudpickle|tornado)'",
        "tuning needs the Python package {0}, which is missing",
        "pip install 'tvm-zerocopy[tune]'",
    ),
    KnownFailure(
        r"UNSUPPORTED_PTX_VERSION|unsupported toolchain",
        "the kernels' PTX is newer than the GPU's driver",
        "compile with an older CUDA toolkit (CUDA_HOME), or update the driver",
    ),
    KnownFailure(r"No module named '([\w.]+)'", "the Python package {0} is missing", "pip install {0}"),
)


def explain(text: str, code: Optional[int]) -> CheckResult:
    """The failure of a check, from what it left behind.

    Parameters
    ----------
    text : str
        A traceback, or what the process left on standard error.
    code : int or None
        The exit code of the process that died of it; None if it lives.
    """
    last, crash = last_line(text), _crash(code)
    if crash and ffi_that_crashes():
        return fail(f"apache-tvm-ffi {installed('apache-tvm-ffi')} makes this TVM crash ({crash})", FFI_MEND)
    known = recognize(text if crash else text[text.rfind(last) :])  # not the names of files in a traceback
    if known is not None:
        return fail(f"{known[0]} ({crash or last})", known[1])
    if crash == "SIGBUS":  # pages of a library that its file does not have
        return fail(f"a library that it loads is not whole: its download or build broke off ({crash})", _REBUILD)
    if crash:
        return fail(f"the process that ran it ended: {crash}", "report it with this text and `--json`'s")
    return fail(last, "report it with this text and `--json`'s")


def recognize(text: str) -> Optional[Tuple[str, str]]:
    """Cause and mend of the first known failure whose traces are in the text."""
    for known in KNOWN_FAILURES:
        match = re.search(known.pattern, text)
        if match:
            return known.cause.format(*match.groups()), known.mend.format(*match.groups())
    return None


def last_line(text: str) -> str:
    """The line of a traceback that says what went wrong (else the last one), at most 200 characters."""
    lines = [line.strip() for line in text.splitlines() if line.strip()] or ["no message"]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Exit|Interrupt)\b|.*\berror: ", line)]
    return (errors or lines)[-1][:200]


def _crash(code: Optional[int]) -> str:
    if code is None:
        return ""
    if code < 0:
        try:
            return {signal.SIGSEGV: "segmentation fault", signal.SIGILL: "illegal instruction"}.get(
                -code, signal.Signals(-code).name
            )
        except ValueError:
            return f"signal {-code}"
    return f"exit code {code}"


def installed(package: str) -> Optional[str]:
    """Version of an installed package, or None."""
    try:
        metadata = importlib.import_module("importlib.metadata")
    except ImportError:  # Python 3.7 and older
        return None
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def ffi_that_crashes() -> Optional[str]:
    """The installed version of apache-tvm-ffi if it is one with which TVM 0.27 crashes (in ToJSONGraph), else None."""
    ffi, tvm = installed("apache-tvm-ffi"), installed("apache-tvm")
    return ffi if ffi and tvm and ffi.startswith("0.1.15") and tvm.startswith("0.27") else None
