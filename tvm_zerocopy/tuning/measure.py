"""Building and timing candidates in worker processes: a candidate that crashes or hangs costs itself, not the run.

MetaSchedule's ``LocalBuilder`` starts its workers anew for every round, and each one first parses TVM's whole library
of tensor intrinsics (20 s on the machine where this was measured). This builder keeps its workers and imports the
intrinsics only where the target's candidates can use them.
"""

from __future__ import annotations

import os
import tempfile

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
from tvm.support.popen_pool import PopenPoolExecutor, StatusKind

BUILD_TIMEOUT = 60.0  # seconds for one candidate
RUN_TIMEOUT = 30.0
# A worker is replaced after so many candidates: LLVM keeps some memory of every module it compiled.
USES_PER_WORKER = 256
# In a network a kernel finds its input in cache and its weights not: all arguments but the first are flushed before
# each of the runs, whose median counts.
EVALUATOR = ms.runner.EvaluatorConfig(number=1, repeat=15, min_repeat_ms=0, enable_cpu_cache_flush=True)


def build_candidate(mod_json: str, target_json: dict, intrinsics: bool) -> str:
    """In a worker: compile one candidate to a tar archive of object files; its path."""
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    if intrinsics:
        import tvm.s_tir.tensor_intrin
    mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(tvm.ir.load_json(mod_json))
    built = tvm.tirx.build(mod, target=tvm.target.Target(target_json))
    path = os.path.join(tempfile.mkdtemp(prefix="tvm_zerocopy_candidate_"), "candidate.tar")
    built.export_library(path)
    return path


def set_threads(count: int):
    """An initializer for runner workers: TVM's pool counts half the logical CPUs where it is not told."""

    def initialize():
        os.environ["TVM_NUM_THREADS"] = str(count)

    return initialize


@derived_object
class WorkerPoolBuilder(PyBuilder):
    """Builds candidates in a pool of processes that lives as long as the builder.

    Parameters
    ----------
    max_workers : int
    intrinsics : bool
        True for spaces that tensorize with TVM's registered intrinsics.
    timeout : float
        Seconds for one candidate.
    build : callable
        ``(mod_json, target_json, intrinsics) -> path``, run in the worker.
    """

    def __init__(self, max_workers, intrinsics=False, timeout=BUILD_TIMEOUT, build=build_candidate):
        super().__init__()
        self.intrinsics, self.candidate = intrinsics, build
        self.pool = PopenPoolExecutor(max_workers, timeout=timeout, maximum_process_uses=USES_PER_WORKER)

    def build(self, build_inputs):
        import tvm

        jobs = [
            (self.candidate, tvm.ir.save_json(item.mod), dict(item.target.export()), self.intrinsics)
            for item in build_inputs
        ]
        results = []
        for result in self.pool.map_with_error_catching(_call, jobs):
            if result.status == StatusKind.COMPLETE:
                results.append(BuilderResult(result.value, None))
            else:
                results.append(BuilderResult(None, f"build: {result.status.name.lower()} {result.value}"))
        return results


def _call(job):
    function, *arguments = job
    return function(*arguments)


def local_runner(threads: int, timeout: float = RUN_TIMEOUT, evaluator=EVALUATOR):
    """Times candidates on this machine, one at a time, with ``threads`` threads, in a process of their own."""
    return ms.runner.LocalRunner(timeout_sec=timeout, evaluator_config=evaluator, initializer=set_threads(threads))


def rpc_runner(host: str, port: int, key: str, timeout: float = RUN_TIMEOUT, workers=None, evaluator=EVALUATOR):
    """Times candidates on the devices that a TVM RPC tracker lends under ``key``.

    A device that dies in the middle of a candidate fails that candidate; the tracker lends the others.
    """
    config = ms.runner.RPCConfig(
        tracker_host=host, tracker_port=port, tracker_key=key, session_priority=1, session_timeout_sec=int(timeout)
    )
    return ms.runner.RPCRunner(rpc_config=config, evaluator_config=evaluator, max_workers=workers)
