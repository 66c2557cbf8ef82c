from pathlib import Path

import pytest
from tvm.target import Target, codegen

from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.targets import available_cores, host_cpu, resolve_target


def test_llvm_is_this_machine():
    target = resolve_target("llvm")
    assert target.attrs["mcpu"] == codegen.llvm_get_system_cpu()
    assert int(target.attrs["num-cores"]) == available_cores()


def test_features_agree_with_the_kernel():
    try:
        flags = Path("/proc/cpuinfo").read_text().split()
    except OSError:
        pytest.skip("no /proc/cpuinfo here")
    if "avx512f" not in flags and "avx2" not in flags:
        pytest.skip("not an x86 machine with AVX2")
    features = codegen.llvm_get_cpu_features(Target(host_cpu()))
    assert ("avx512f" in features) == ("avx512f" in flags)
    assert ("avx512bf16" in features) == ("avx512_bf16" in flags)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("llvm -mcpu=haswell -num-cores=4", {"mcpu": "haswell", "num-cores": 4}),
        ('{"kind": "llvm", "mcpu": "haswell", "num-cores": 4}', {"mcpu": "haswell", "num-cores": 4}),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=carmel", {"mtriple": "aarch64-linux-gnu", "mcpu": "carmel"}),
        ("llvm -mcpu=haswell -mattr=-avx2,+avx", {"mattr": ["-avx2", "+avx"]}),
    ],
)
def test_named_cpus_are_kept(text, expected):
    attrs = resolve_target(text).attrs
    for name, value in expected.items():
        assert (list(attrs[name]) if isinstance(value, list) else attrs[name]) == value


def test_tags_and_target_objects_are_kept():
    target = resolve_target("nvidia/jetson-agx-xavier")
    assert target.attrs["arch"] == "sm_72"
    assert target.host.attrs["mcpu"] == "carmel"
    assert str(resolve_target(target)) == str(target)


def test_gpu_without_host_gets_this_cpu():
    target = resolve_target("cuda -arch=sm_72")
    assert target.host.attrs["mcpu"] == codegen.llvm_get_system_cpu()


@pytest.mark.parametrize(
    "text, words",
    [
        ("nope", "nope"),
        ("llvm -mcpu=nosuchcpu", "nosuchcpu"),
        ("llvm -mtriple=nosuch-linux", "nosuch"),
        ("llvm -num-cores=many", "integer"),
        ("llvm znver4", "-name=value"),
        ('{"kind":', "JSON"),
        ("", "string"),
    ],
)
def test_errors_name_cause_and_mend(text, words):
    with pytest.raises(UnsupportedError, match=words) as error:
        resolve_target(text)
    assert len(str(error.value).splitlines()) == 1
