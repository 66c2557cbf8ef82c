"""Times AutoTVM's candidates in a process of this machine, which is started once.

AutoTVM's own ``LocalRunner`` starts an RPC tracker and a server for each task and links every candidate again there.
"""

from __future__ import annotations

import os
import time

from tvm.autotvm.measure import MeasureErrorNo, MeasureResult
from tvm.autotvm.measure.measure import Runner
from tvm.contrib.popen_pool import PopenPoolExecutor, StatusKind

FLUSH = "cache_flush_cpu_non_first_arg"  # in a network a kernel finds its input in cache and its weights not


def time_library(path: str, arguments, repeat: int) -> list:
    """In the worker: seconds of each run of a library's function on random arguments."""
    import tvm

    module = tvm.runtime.load_module(path)
    fill = tvm.get_global_func("tvm.contrib.random.random_fill")
    tensors = [tvm.nd.empty(shape, dtype, tvm.cpu()) for shape, dtype in arguments]
    for tensor in tensors:
        fill(tensor)
    timer = module.time_evaluator(module.entry_name, tvm.cpu(), number=1, repeat=repeat, f_preproc=FLUSH)
    return list(timer(*tensors).results)


def _set_threads(count: int) -> None:
    os.environ["TVM_NUM_THREADS"] = str(count)


class LocalRunner(Runner):
    """
    Parameters
    ----------
    threads : int
        Of TVM's pool.
    repeat : int
        Runs of a candidate.
    timeout : float
        Seconds for one candidate.
    """

    def __init__(self, threads: int, repeat: int, timeout: float):
        super().__init__(timeout, 1)
        self._repeat = repeat
        self._pool = PopenPoolExecutor(1, timeout, _set_threads, (threads,))

    def get_build_kwargs(self):
        return {}

    def run(self, measure_inputs, build_results):
        return [self._run(built) for built in build_results]

    def _run(self, built):
        if isinstance(built, MeasureResult):  # it failed to build
            return built
        begin = time.time()
        (result,) = self._pool.map_with_error_catching(_time, [(built.filename, built.arg_info, self._repeat)])
        now = time.time()
        cost = now - begin + built.time_cost
        if result.status == StatusKind.COMPLETE:
            return MeasureResult(tuple(result.value), MeasureErrorNo.NO_ERROR, cost, now)
        late = result.status == StatusKind.TIMEOUT
        kind = MeasureErrorNo.RUN_TIMEOUT if late else MeasureErrorNo.RUNTIME_DEVICE
        return MeasureResult(("", f"run: {result.status.name.lower()} {result.value}"), kind, cost, now)


def _time(job):
    return time_library(*job)
