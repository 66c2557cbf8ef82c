"""CPU threads of TVM's kernels: as many as this process may use CPUs."""

from __future__ import annotations

import os
import threading

from .errors import UnsupportedError

VARIABLE = "TVM_NUM_THREADS"

# Counted when the package is first used: TVM narrows the calling thread's affinity once its pool starts.
CPUS = frozenset(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
AVAILABLE = len(CPUS)

_thread = threading.local()  # .process: in which it first ran kernels; TVM starts each thread's pool then


def use_available_cpus() -> int:
    """Size the pools that TVM starts from now on; the user's own TVM_NUM_THREADS or OMP_NUM_THREADS stays.

    TVM itself starts one thread for every two logical CPUs, which is one thread on a machine with two. It reads the
    variable when a thread runs its first parallel kernel; each calling thread has a pool of its own. It pins pools to
    the machine's first CPUs; where this process was given others (taskset, a container's cpuset), it is told not to.

    Returns
    -------
    int
        Threads a kernel will run on, the calling one included.
    """
    if max(CPUS) >= AVAILABLE:  # not the machine's first CPUs
        os.environ.setdefault("TVM_BIND_THREADS", "0")
    if "OMP_NUM_THREADS" not in os.environ:
        os.environ.setdefault(VARIABLE, str(AVAILABLE))
    chosen = os.environ.get(VARIABLE) or os.environ["OMP_NUM_THREADS"]
    return max(int(chosen), 1) if chosen.isdigit() else 1


def check_not_forked() -> None:
    """Raise UnsupportedError if this thread's pool was started by a parent process: kernels would wait for it for ever.

    Call it before kernels run.
    """
    process = os.getpid()
    if getattr(_thread, "process", process) != process and use_available_cpus() > 1:
        raise UnsupportedError(
            "this process was forked from one in which kernels had run, and their threads are not in it; start it with "
            "multiprocessing.get_context('spawn'), or fork before the first run"
        )
    _thread.process = process
