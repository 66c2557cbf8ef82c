"""``compile --report``: every kernel of a compiled model, what it takes, what it does, how long that should take."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass

import tvm
from tvm import s_tir
from tvm.target import Target
from tvm.tirx.build import split_host_device_mods

from ..cuda_toolchain import assemble, compile_source, compiling
from .counter import count
from .gpu import Gpu, gpu_of
from .predict import Prediction, predict

MODEL = (
    "Predicted by a static model (tvm_zerocopy.kernel_model.predict), not measured: highest clock, memory to itself, "
    "weights not in L2, branches taken. It ranks kernels; real times are longer."
)
ASSUMED = (
    "Loops whose length lies in memory are as long as their kernels declare them to be usually (NMS: 300 candidates of "
    "which none overlaps another), or else as their buffers' sizes allow"
)
UNKNOWN = "Loops whose length nothing tells count as one step"


@dataclass(frozen=True)
class KernelRow:
    """One device kernel. Times are predictions, in seconds for one launch; ``launches`` is a frame's.

    ``assumed`` names loops whose length lies in memory and was taken from what the kernel declares or its buffers'
    sizes allow (`trips.Trips`); ``longest_seconds`` is the time with all of them at their longest. ``unknown`` names
    those that count as one step.
    """

    name: str
    launches: int
    grid: tuple
    block: tuple
    registers: int
    spill_bytes: int
    shared_bytes: int
    occupancy: float
    occupancy_limit: str
    flop: float
    bytes: int
    tensor_cores: bool
    roofline_seconds: float
    roofline_bound: str
    predicted_seconds: float
    predicted_bound: str
    longest_seconds: float
    assumed: tuple
    unknown: tuple


@dataclass(frozen=True)
class Report:
    """All kernels of one program on one GPU."""

    gpu: str
    arch: str
    kernels: tuple

    @property
    def predicted_seconds(self) -> float:
        """Of a frame: the sum over all launches."""
        return sum(row.launches * row.predicted_seconds for row in self.kernels)

    @property
    def roofline_seconds(self) -> float:
        """Of a frame: what no schedule can go under, kernel by kernel."""
        return sum(row.launches * row.roofline_seconds for row in self.kernels)

    @property
    def flop(self) -> float:
        return sum(row.launches * row.flop for row in self.kernels)

    @property
    def spills(self) -> list[str]:
        """Names of the kernels that spill registers."""
        return [row.name for row in self.kernels if row.spill_bytes]

    def to_dict(self) -> dict:
        """For ``--json``."""
        return {
            "gpu": self.gpu,
            "arch": self.arch,
            "kernels": [asdict(row) for row in self.kernels],
            "flop": self.flop,
            "roofline_ms": self.roofline_seconds * 1e3,
            "predicted_ms": self.predicted_seconds * 1e3,
            "model": MODEL,
        }


def program_report(lowered: tvm.IRModule, target):
    """The report of a whole program: ``Report`` for a GPU, the rows of `cpu_report` for a CPU.

    Parameters
    ----------
    lowered : tvm.IRModule
        As ``tvm_zerocopy.compile(inspect=...)`` gives it.
    target : tvm.target.Target
    """
    program = json.loads(lowered.attrs["tz.program"])
    if target.kind.name == "llvm":
        return cpu_report(program)
    from ..program import split_module

    _, device_mods = split_module(lowered, target)
    calls = Counter(call["kernel"] for call in program["calls"])
    launches = {
        str(func.attrs["global_symbol"]): calls.get(_launcher(str(func.attrs["global_symbol"])), 1)
        for device_mod in device_mods.values()
        for func in device_mod.functions.values()
    }
    return gpu_report(device_mods, launches)


def _launcher(kernel: str) -> str:
    """``tz.conv2d_kernel_1`` -> ``conv2d``: the function that a device kernel was split from."""
    return re.sub(r"_kernel(_\d+)?$", "", kernel[3:] if kernel.startswith("tz.") else kernel)


def gpu_report(device_mods, launches: dict[str, int]) -> Report:
    """Count and predict every device kernel of a program.

    Parameters
    ----------
    device_mods : dict of tvm.target.Target to tvm.IRModule
        Device functions as the code generator gets them.
    launches : dict of str to int
        How often a frame launches each.

    Raises
    ------
    UnsupportedError
        If there is no CUDA compiler for the architecture, or the model does not know it.
    """
    rows = []
    for target, device_mod in device_mods.items():
        arch = str(target.attrs["arch"])
        gpu = gpu_of(arch)
        _, resources = assemble(compile_source(cuda_source(device_mod, target), arch, "ptx"), arch)
        for var, func in device_mod.functions.items():
            name = str(func.attrs.get("global_symbol", var.name_hint))
            rows.append(_row(name, launches.get(name, 1), func, gpu, resources[name]))
    rows.sort(key=lambda row: -row.launches * row.predicted_seconds)
    return Report(gpu.name, gpu.arch, tuple(rows))


def device_functions(func, target) -> dict:
    """One scheduled function of a GPU as its device functions, by target: what `gpu_report` takes."""
    host = target.host or Target({"kind": "llvm"})
    pipeline, _, finalize_device = s_tir.pipeline.default_s_tir_pipeline()
    func = func.with_attr("target", target.with_host(host)).with_attr("global_symbol", "main")
    with target:
        _, device_mods = split_host_device_mods(pipeline(tvm.IRModule({"main": func})))
        return {device: finalize_device()(device_mod) for device, device_mod in device_mods.items()}


def cuda_source(device_mod: tvm.IRModule, target) -> str:
    """The CUDA C of device functions."""
    with compiling(str(target.attrs["arch"])), target:
        built = tvm.get_global_func("target.build.cuda")(device_mod, target)
    return str(built.inspect_source("cuda"))


def _row(name: str, launches: int, func, gpu: Gpu, resources) -> KernelRow:
    mix, spilled = count(func), resources.spill_load_bytes + resources.spill_store_bytes
    longest = count(func, longest=True) if mix.assumed else mix
    found: Prediction = predict(mix, gpu, resources.registers, spilled)
    return KernelRow(
        name=name,
        launches=launches,
        grid=mix.grid,
        block=mix.block,
        registers=resources.registers,
        spill_bytes=spilled,
        shared_bytes=resources.shared_bytes,
        occupancy=found.occupancy.share,
        occupancy_limit=found.occupancy.limit,
        flop=mix.flop,
        bytes=mix.argument_bytes,
        tensor_cores=mix.tensor_multiply_adds > 0,
        roofline_seconds=found.roofline_seconds,
        roofline_bound=found.roofline_bound,
        predicted_seconds=found.seconds,
        predicted_bound=found.bound,
        longest_seconds=predict(longest, gpu, resources.registers, spilled).seconds,
        assumed=tuple(dict.fromkeys(mix.assumed)),
        unknown=tuple(dict.fromkeys(mix.unknown)),
    )


def cpu_report(program: dict) -> list[dict]:
    """Kernels of a CPU program: calls a frame, FLOP, bytes of their arguments, FLOP a byte."""
    rows: dict[str, dict] = {}
    for call in program["calls"]:
        row = rows.setdefault(call["kernel"], {"name": call["kernel"], "calls": 0, "flop": 0, "bytes": 0})
        row["calls"] += 1
        row["flop"] += call["flops"] or 0
        row["bytes"] += sum(argument["nbytes"] or 0 for argument in (*call["inputs"], *call["outputs"]))
    for row in rows.values():
        row["flop_per_byte"] = row["flop"] / row["bytes"] if row["bytes"] else None
    return sorted(rows.values(), key=lambda row: -row["flop"])
