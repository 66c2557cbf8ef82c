"""Building and timing candidates in worker processes: a candidate that crashes or hangs costs itself, not the run.

MetaSchedule's ``LocalBuilder`` starts its workers anew for every round, and each one first parses TVM's whole library
of tensor intrinsics (20 s on the machine where this was measured). This builder keeps its workers and imports the
intrinsics only where the target's candidates can use them.
"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile

from tvm.ir.utils import derived_object
from tvm.s_tir import meta_schedule as ms
from tvm.s_tir.meta_schedule.builder import BuilderResult, PyBuilder
from tvm.support.popen_pool import PopenPoolExecutor, StatusKind

from .. import runtime
from ..errors import UnsupportedError

BUILD_TIMEOUT = 60.0  # seconds for one candidate
RUN_TIMEOUT = 30.0
DEVICE_WAIT = 300.0  # for a device that others use
# A worker is replaced after so many candidates: LLVM keeps some memory of every module it compiled.
USES_PER_WORKER = 256
# On a GPU events are timed; several runs in a row keep its clock up.
GPU_EVALUATOR = ms.runner.EvaluatorConfig(number=10, repeat=5, min_repeat_ms=20, enable_cpu_cache_flush=False)
# In a network a kernel finds its input in cache and its weights not: all arguments but the first are flushed before
# each of the runs, whose median counts. How far that agrees with times in networks: benchmarks/tuning_agreement.py.
EVALUATOR = ms.runner.EvaluatorConfig(number=1, repeat=15, min_repeat_ms=0, enable_cpu_cache_flush=True)


def build_candidate(mod_json: str, target_json: dict, intrinsics: bool) -> str:
    """In a worker: compile one candidate; the path of a tar archive of object files, or of a shared library.

    A tar archive is linked where it runs. For another CPU, and for a GPU, the library is linked here: the device then
    needs neither compiler nor CUDA toolkit.
    """
    import tvm
    from tvm.s_tir.transform import RemoveWeightLayoutRewriteBlock

    if intrinsics:
        import tvm.s_tir.tensor_intrin
    mod = RemoveWeightLayoutRewriteBlock(skip_tensor_rewrite=True)(tvm.ir.load_json(mod_json))
    target = tvm.target.Target(target_json)
    folder = tempfile.mkdtemp(prefix="tvm_zerocopy_candidate_")
    machine = runtime.machine_of(str(target))
    if target.kind.name != "cuda" and machine in (None, platform.machine()):
        path = os.path.join(folder, "candidate.tar")
        tvm.tirx.build(mod, target=target).export_library(path)
        return path
    path = os.path.join(folder, "candidate.so")
    export_linked(mod, target, path)
    return path


def export_linked(mod, target, path: str) -> None:
    """Build a module and link it for the target's host, its GPU's machine code inside.

    Raises
    ------
    UnsupportedError
        If a compiler for the host or the GPU is missing.
    """
    import tvm
    from tvm.support import cc

    machine = runtime.machine_of(str(target))
    compiler = cc.get_cc() if machine in (None, platform.machine()) else f"{machine}-linux-gnu-g++"
    if compiler is None or shutil.which(compiler) is None:
        raise UnsupportedError(f"candidates are linked with {compiler or 'g++'}, which is not installed")
    options = {"fcompile": cc.cross_compiler(compiler, options=["-shared", "-fPIC"])}
    if target.kind.name != "cuda":
        tvm.tirx.build(mod, target=target).export_library(path, **options)
        return
    from ..cuda_toolchain import compiling
    from ..device_code import packer

    arch = str(target.attrs["arch"])
    with compiling(arch):
        tvm.tirx.build(mod, target=target).export_library(path, fpack_imports=packer(arch), **options)


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
    replace : dict
        Of the target's configuration: candidates for one GPU built for another, for example ``{"arch": "sm_90"}``.
    """

    def __init__(self, max_workers, intrinsics=False, timeout=BUILD_TIMEOUT, build=build_candidate, replace=None):
        super().__init__()
        self.intrinsics, self.candidate, self.replace = intrinsics, build, dict(replace or {})
        self.pool = PopenPoolExecutor(max_workers, timeout=timeout, maximum_process_uses=USES_PER_WORKER)

    def build(self, build_inputs):
        import tvm

        jobs = [
            (self.candidate, tvm.ir.save_json(item.mod), {**item.target.export(), **self.replace}, self.intrinsics)
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


def rpc_runner(host: str, port: int, key: str, timeout: float = RUN_TIMEOUT, workers=None, evaluator=None, gpu=False):
    """Times candidates on the devices that a TVM RPC tracker lends under ``key``.

    A device that dies in the middle of a candidate fails that candidate; the tracker lends the others.
    """
    config = ms.runner.RPCConfig(
        tracker_host=host, tracker_port=port, tracker_key=key, session_priority=1, session_timeout_sec=int(timeout)
    )
    evaluator = evaluator or (GPU_EVALUATOR if gpu else EVALUATOR)
    return ms.runner.RPCRunner(
        rpc_config=config, evaluator_config=evaluator, max_workers=workers, f_create_session=borrow_device
    )


def borrow_device(config):
    """In a worker: a session on a device. MetaSchedule's own waits forever for one that is gone."""
    from tvm import rpc

    tracker = rpc.connect_tracker(config.tracker_host, config.tracker_port)
    if f"server:{config.tracker_key}" not in [server["key"] for server in tracker.summary()["server_info"]]:
        raise RuntimeError(f"the tracker lends no device with key {config.tracker_key!r} any more")
    tracker._sock.settimeout(DEVICE_WAIT)
    return tracker.request(
        config.tracker_key, priority=config.session_priority, session_timeout=config.session_timeout_sec, max_retry=1
    )
