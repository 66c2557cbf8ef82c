"""Which ways of sharing memory between CPU and GPU this machine has, asked from the CUDA driver."""

import ctypes
from typing import Dict, List, NamedTuple, Optional, Tuple

from .result import CheckResult, ok, skip, warn

# CUdevice_attribute, cuda.h
_ATTRIBUTES = {
    "integrated": 18,
    "can_map_host_memory": 19,
    "unified_addressing": 41,
    "managed_memory": 83,
    "pageable_memory_access": 88,
    "concurrent_managed_access": 89,
}


class Driver(NamedTuple):
    library: ctypes.CDLL
    count: int  # devices
    version: Tuple[int, int]  # (11, 4): the CUDA version it is of


def driver() -> Optional[Driver]:
    """The CUDA driver with at least one device, or None."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    count = ctypes.c_int()
    if library.cuInit(0) != 0 or library.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value < 1:
        return None
    version = ctypes.c_int()
    library.cuDriverGetVersion(ctypes.byref(version))
    return Driver(library, count.value, (version.value // 1000, version.value % 1000 // 10))


def unified_memory() -> CheckResult:
    """Managed, mapped and pageable memory of each CUDA device, and what follows for zero-copy frames."""
    found = driver()
    if found is None:
        return skip("no CUDA device: frames stay in host memory, where the CPU's kernels read them in place")
    gpus = [_attributes(found, index) for index in range(found.count)]
    detail = "; ".join(f"cuda({i}) {_say(gpu)}" for i, gpu in enumerate(gpus))
    if not all(gpu["can_map_host_memory"] for gpu in gpus):
        return warn(detail, "frames must be copied to this GPU: give the engine device memory", devices=gpus)
    return ok(detail, devices=gpus)


def _attributes(found: Driver, index: int) -> Dict[str, int]:
    device, value = ctypes.c_int(), ctypes.c_int()
    if found.library.cuDeviceGet(ctypes.byref(device), index) != 0:
        return dict.fromkeys(_ATTRIBUTES, 0)
    values = {}
    for name, number in _ATTRIBUTES.items():
        status = found.library.cuDeviceGetAttribute(ctypes.byref(value), number, device)
        values[name] = value.value if status == 0 else 0
    return values


def _say(gpu: Dict[str, int]) -> str:
    kind = "integrated (CPU and GPU share memory)" if gpu["integrated"] else "discrete"
    ways: List[str] = []
    if gpu["managed_memory"]:
        ways.append("managed memory" + (", also while a kernel runs" if gpu["concurrent_managed_access"] else ""))
    if gpu["can_map_host_memory"]:
        ways.append("mapped host memory")
    if gpu["pageable_memory_access"]:
        ways.append("any host memory")
    return f"{kind}: {'; '.join(ways) or 'no memory shared with the CPU'}"
