"""Devices that TVM finds, and a buffer there and back on each."""

from typing import Any, Dict, Tuple

import numpy as np

from .result import CheckResult, fail, ok, warn

_KINDS = ("cpu", "cuda", "rocm", "vulkan", "opencl", "metal")
_MOST = 16  # devices of one kind


def devices() -> CheckResult:
    """Send random bytes to every device and compare what comes back."""
    import tvm

    from .unified_memory import driver

    found, broken = [], []
    for kind in _KINDS:
        for index in range(1 if kind == "cpu" else _MOST):
            device = tvm.device(kind, index)
            if not device.exist:
                break
            facts = {"device": f"{kind}({index})", **_facts(kind, device)}
            found.append(facts)
            trouble = _round_trip(device)
            if trouble:
                broken.append(f"{kind}({index}): {trouble}")
    detail = "; ".join(" ".join(str(v) for v in facts.values() if v) for facts in found)
    if broken:
        return fail(
            f"a buffer does not come back from {'; '.join(broken)}", "update the device's driver", devices=found
        )
    gpu = driver()
    if gpu:
        detail += f"; {_driver(gpu.version)}"
    if gpu and not any(facts["device"].startswith("cuda") for facts in found):
        return warn(
            f"{detail}; the driver has {gpu.count} CUDA device(s), TVM sees none",
            "update the GPU driver to the CUDA version that TVM was built with, or build TVM with USE_CUDA=ON (on a "
            "Jetson its two files for CUDA alone, as docs/jetson.md says)",
            devices=found,
        )
    return ok(f"{detail}; a buffer came back whole from each", devices=found)


def _round_trip(device: Any) -> str:
    from . import compat

    sent = np.random.default_rng().integers(0, 256, (3, 1021), np.uint8)
    try:
        back = compat.tensor(sent, device).numpy()
    except Exception as error:  # the driver's own error types
        return (str(error).strip().splitlines() or [type(error).__name__])[-1]
    return "" if np.array_equal(sent, back) else "other bytes came back"


def _driver(version: Tuple[int, int]) -> str:
    major, minor = version
    return f"the driver is of CUDA {major}.{minor}: it runs machine code of CUDA {major}.x and before"


def _facts(kind: str, device: Any) -> Dict[str, Any]:
    if kind == "cpu":
        return {}
    facts: Dict[str, Any] = {"name": device.device_name}
    if kind == "cuda":
        facts["arch"] = "sm_" + str(device.compute_version).replace(".", "")
    memory = getattr(device, "total_global_memory", None)
    facts["memory"] = f"{memory / 1e9:.1f} GB" if memory else None
    return facts
