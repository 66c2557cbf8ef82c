"""How candidates are timed: what is chosen, what is refused, and what candidates for another CPU are built into."""

import platform
import shutil
import struct

import pytest
from tuning_kernels import TileRule, dense_workload
from tvm.ir import save_json
from tvm.target import Target

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.targets import resolve_target
from tvm_zerocopy.tuning import host, means, measure

XAVIER = Target("nvidia/jetson-agx-xavier")
XAVIER_CPU = {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "carmel", "num-cores": 8}
H100 = host.Gpu("NVIDIA H100", "sm_90")


def test_a_cpu_is_measured_here():
    how = means.means_for(resolve_target("llvm"))
    assert how.measured == "local" and how.device == host.cpu_name()
    with pytest.raises(UnsupportedError, match="--measure predicted is for GPUs"):
        means.means_for(resolve_target("llvm"), choice="predicted")


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the target is foreign to x86-64")
def test_another_cpu_is_not():
    with pytest.raises(UnsupportedError, match="target's CPU is aarch64 and this machine is x86_64; .*--rpc HOST:PORT"):
        means.means_for(resolve_target(XAVIER_CPU))


@pytest.mark.cuda12
@pytest.mark.parametrize(
    ("choice", "here", "measured"),
    [
        (None, None, "predicted"),
        (None, H100, "predicted"),
        ("predicted", H100, "predicted"),
        ("other_arch", H100, "other_arch"),
        (None, host.Gpu("Xavier", "sm_72"), "local"),
    ],
)
def test_a_gpu_is_measured_where_there_is_one(monkeypatch, choice, here, measured):
    monkeypatch.setattr(host, "local_gpu", lambda: here)
    how = means.means_for(XAVIER, choice=choice)
    assert how.measured == measured
    assert how.device == ("Jetson AGX Xavier" if measured == "predicted" else here.name)
    assert (measured in how.line()) == (measured in ("predicted", "other_arch"))  # marked where it is no measurement
    if measured == "other_arch":
        assert how.builder.replace["arch"] == "sm_90"


@pytest.mark.parametrize(
    ("choice", "here", "message"),
    [
        ("local", None, "--measure local needs a GPU here and TVM sees none; --measure predicted"),
        ("other_arch", None, "--measure other_arch needs a GPU here"),
        ("local", H100, "GPU here is NVIDIA H100 .sm_90. and the target is sm_72; --measure other_arch"),
    ],
)
def test_gpus_that_are_not_there(monkeypatch, choice, here, message):
    monkeypatch.setattr(host, "local_gpu", lambda: here)
    with pytest.raises(UnsupportedError, match=message):
        means.means_for(XAVIER, choice=choice)


@pytest.mark.skipif(
    platform.machine() != "x86_64" or shutil.which("aarch64-linux-gnu-g++") is None,
    reason="cross-links from x86-64 with aarch64-linux-gnu-g++",
)
def test_candidates_for_another_cpu_are_linked_for_it():
    target = resolve_target(XAVIER_CPU)
    sch = TileRule().apply(dense_workload()["main"], target)
    path = measure.build_candidate(save_json(sch.mod), dict(target.export()), False)
    assert path.endswith(".so")
    with open(path, "rb") as file:
        assert struct.unpack_from("<H", file.read(20), 18) == (183,)  # e_machine, elf(5): aarch64
