"""The machine, the installed packages and the threads that TVM starts."""

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Optional

from . import cpus
from .known_failures import FFI, INSTALL, TVM, ffi_that_crashes, installed, last_line
from .result import CheckResult, fail, ok, warn

REQUIRED = ("numpy", "onnx", "pillow", "rich")
OPTIONAL = (
    "onnxruntime",
    "openvino",
    "torch",
    "opencv-python",
    "opencv-python-headless",
    "av",
    "xgboost",
    "cuda-bindings",
)


def machine() -> CheckResult:
    """Operating system, CPU, memory, Python; JetPack's release on a Jetson."""
    facts = {
        "system": f"{platform.system()} {platform.release()}",
        "architecture": platform.machine(),
        "cpu": cpu_name(),
        "cpus_allowed": cpus.ALLOWED,
        "cpus": os.cpu_count(),
        "memory_gb": _memory_gb(),
        "python": platform.python_version(),
        "libc": " ".join(platform.libc_ver()),
        "jetson": _jetson(),
    }
    detail = (
        f"{facts['cpu']}, {cpus.ALLOWED} of {facts['cpus']} CPUs, {facts['memory_gb']} GB, {facts['system']} "
        f"{facts['architecture']}, {facts['libc']}, Python {facts['python']}"
    )
    if facts["jetson"]:
        detail += f", {facts['jetson']}"
    if sys.maxsize < 2**32:
        return fail(detail + ", 32-bit Python", "install a 64-bit Python: TVM has no 32-bit packages", **facts)
    return ok(detail, **facts)


def cpu_name() -> str:
    """The CPU's name as the system gives it."""
    for line in _read("/proc/cpuinfo").splitlines():
        if line.split(":")[0].strip() in ("model name", "Model"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gb() -> Optional[float]:
    for line in _read("/proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            return round(int(line.split()[1]) * 1024 / 1e9, 1)
    return None


def _jetson() -> str:
    release = _read("/etc/nv_tegra_release").split("\n")[0].lstrip("# ")
    board = _read("/proc/device-tree/model").strip("\0 \n")
    return ", ".join(part for part in (board, release) if part)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def packages() -> CheckResult:
    """Versions of what this package needs and of what it uses where present."""
    names = ("tvm-zerocopy", "apache-tvm", "apache-tvm-ffi", *REQUIRED, *OPTIONAL)
    found = {name: installed(name) for name in names}
    detail = ", ".join(f"{name} {version}" for name, version in found.items() if version)
    missing = [name for name in REQUIRED if not found[name]]
    if missing:
        return fail(f"{', '.join(missing)} not installed; {detail}", f"pip install {' '.join(missing)}", **found)
    if ffi_that_crashes():
        mend = INSTALL + " (pip picks 0.1.15 unless it is pinned)"
        return fail(
            f"apache-tvm-ffi {found['apache-tvm-ffi']} makes TVM 0.27 crash when it saves a module", mend, **found
        )
    for name, needed in (("apache-tvm", TVM), ("apache-tvm-ffi", FFI)):
        if found[name] and not f"{found[name]}.".startswith(f"{needed}."):
            return fail(f"{name} {found[name]} does not do: tvm-zerocopy is made for {needed}", INSTALL, **found)
    return ok(detail, **found)


def threads() -> CheckResult:
    """Threads in TVM's own pool, started as any TVM program starts it, against the CPUs that this process may use."""
    environment = {k: v for k, v in os.environ.items() if k != cpus.VARIABLE}
    if cpus.CHOSEN is not None:
        environment[cpus.VARIABLE] = cpus.CHOSEN
    code = "import tvm; print('threads', tvm.get_global_func('runtime.NumThreads')())"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    words = done.stdout.split()
    if words[:1] != ["threads"]:
        return warn(f"TVM does not tell its threads: {last_line(done.stderr)}", f"set {cpus.VARIABLE}={cpus.ALLOWED}")
    count = int(words[1])
    figures = {"threads": count, "cpus_allowed": cpus.ALLOWED, cpus.VARIABLE: cpus.CHOSEN}
    detail, mend = f"TVM starts {count} of {cpus.ALLOWED} threads", f"export {cpus.VARIABLE}={cpus.ALLOWED}"
    if cpus.CHOSEN is not None:
        detail, mend = f"{detail} ({cpus.VARIABLE}={cpus.CHOSEN})", f"unset {cpus.VARIABLE}, or {mend}"
    else:
        mend += " for other TVM programs; tvm-zerocopy's engines set it themselves"
    return ok(detail, **figures) if count >= cpus.ALLOWED else warn(detail, mend, **figures)
