"""How a candidate's time comes about: on a device here or afar, on another GPU, or by prediction."""

from __future__ import annotations

import functools
import platform
from dataclasses import dataclass
from typing import Callable

from .. import runtime
from ..errors import UnsupportedError
from . import host, measure, probe, static
from .tracker import require_tracker

CHOICES = ("local", "other_arch", "predicted")  # and "rpc", which follows from a tracker's address


@dataclass
class Means:
    """What a tuning run builds and times its candidates with.

    Attributes
    ----------
    measured : one of ``manifest.MEASURED``
    builder, runner : MetaSchedule's
    device : str
        For the manifest.
    require : callable or None
        Raises UnsupportedError if the devices are gone; asked when a whole round failed.
    """

    measured: str
    builder: object
    runner: object
    device: str
    require: Callable[[], None] | None = None

    def line(self) -> str:
        """One line for people."""
        return {
            "local": f"measured on {self.device}",
            "rpc": f"measured through RPC on {self.device}",
            "other_arch": f"measured on {self.device}, which is not the target's GPU; records are marked other_arch",
            "predicted": f"predicted for {self.device}, nothing is measured; records are marked predicted",
        }[self.measured]


def means_for(target, *, rpc=None, key=None, choice=None, threads=1, workers=1, intrinsics=False) -> Means:
    """The means that the user named, else the best that is at hand.

    Parameters
    ----------
    target : tvm.target.Target
    rpc : (str, int) or None
        A tracker's host and port; candidates are linked for the target's host and run on the devices that it lends.
    key : str or None
        The devices' key at the tracker.
    choice : one of ``CHOICES`` or None
        None, for a GPU: the GPU here if it is the target's, else prediction.
    threads, workers : int
        CPU threads that candidates run with; processes that build them.
    intrinsics : bool
        As for ``WorkerPoolBuilder``.

    Raises
    ------
    UnsupportedError
        If the named means is not at hand, the tracker's device does not run what is built for the target, or the
        target's CPU is not this machine's and no tracker was named.
    """
    if rpc is not None:
        require = functools.partial(require_tracker, *rpc, key)
        require()
        builder = measure.WorkerPoolBuilder(workers, intrinsics=intrinsics)
        runner = measure.rpc_runner(*rpc, key, gpu=target.kind.name == "cuda")
        probe.require_runs(builder, runner, target, key)
        return Means("rpc", builder, runner, key, require)
    if target.kind.name == "cuda":
        return _gpu_means(target, choice, workers, intrinsics)
    made_for = runtime.machine_of(str(target))
    if choice in ("other_arch", "predicted"):
        raise UnsupportedError(
            f"--measure {choice} is for GPUs; target {target.kind.name} is measured: local, or --rpc"
        )
    if made_for not in (None, platform.machine()):
        raise UnsupportedError(
            f"the target's CPU is {made_for} and this machine is {platform.machine()}; tune on the device itself, or "
            "through a tracker: --rpc HOST:PORT --key K"
        )
    host.require_compiler()
    builder = measure.WorkerPoolBuilder(workers, intrinsics=intrinsics)
    return Means("local", builder, measure.local_runner(threads), host.cpu_name())


def _gpu_means(target, choice, workers, intrinsics) -> Means:
    arch, here = str(target.attrs["arch"]), host.local_gpu()
    if choice is None:
        choice = "local" if here is not None and here.arch == arch else "predicted"
    if choice == "predicted":
        from ..cuda_toolchain import find_toolchain
        from ..kernel_model.gpu import gpu_of

        find_toolchain(arch)
        builder = measure.WorkerPoolBuilder(workers, intrinsics, static.TIMEOUT, static.predict_candidate)
        return Means("predicted", builder, static.static_runner(), gpu_of(arch).name)
    if here is None:
        raise UnsupportedError(f"--measure {choice} needs a GPU here and TVM sees none; --measure predicted needs none")
    if choice == "local" and here.arch != arch:
        raise UnsupportedError(
            f"the GPU here is {here.name} ({here.arch}) and the target is {arch}; --measure other_arch measures on it "
            "all the same and marks the records"
        )
    host.require_compiler()
    replace = {"arch": here.arch, "host": host.host_target()} if choice == "other_arch" else {}
    builder = measure.WorkerPoolBuilder(workers, intrinsics=intrinsics, replace=replace)
    return Means(choice, builder, measure.local_runner(1, evaluator=measure.GPU_EVALUATOR), here.name)
