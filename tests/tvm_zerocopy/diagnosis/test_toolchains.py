"""Compilers and drivers, played by small programs and libraries of the same interface."""

import os
import platform
import shutil
import subprocess
import sys

import pytest

from tvm_zerocopy.diagnosis import toolchains

needs_compiler = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc to build stand-ins")


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """An empty PATH; ``tools(name, script)`` puts a shell script on it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    for variable in ("CC", "CXX"):
        monkeypatch.delenv(variable, raising=False)

    def add(name, script):
        path = folder / name
        path.write_text("#!/bin/sh\n" + script)
        path.chmod(0o755)
        return str(path)

    return add


def build(source, output):
    subprocess.run(["gcc", "-shared", "-fPIC", "-x", "c", "-o", str(output), "-"], input=source, text=True, check=True)
    return output


@needs_compiler
def test_the_c_compiler_here_builds_a_library_that_runs():
    assert toolchains.c_compiler().status == "ok"


def test_no_compiler_and_a_broken_one_are_told_apart(tools):
    found = toolchains.c_compiler()
    assert found.status == "warn" and "no C compiler" in found.detail
    tools("gcc", "echo 'fatal error: stdio.h: no such file' >&2; exit 1\n")
    found = toolchains.c_compiler()
    assert found.status == "warn" and "stdio.h" in found.detail


def test_a_compiler_that_writes_no_library_is_seen(tools):
    tools("gcc", 'while [ "$1" != -o ]; do shift; done; echo nothing > "$2"\n')
    assert "does not load" in toolchains.c_compiler().detail


@pytest.fixture
def no_cuda(monkeypatch):
    monkeypatch.setattr(toolchains, "_tools", lambda name: [])
    monkeypatch.setattr(toolchains, "_nvrtc_libraries", lambda: [])


def test_without_cuda_the_mend_is_named(no_cuda):
    found = toolchains.sm_72()
    assert found.status == "skip" and "tvm-zerocopy[cuda12]" in found.mend


@pytest.mark.parametrize("codes, knows", [("sm_50 sm_72 sm_75", True), ("sm_75 sm_90", False), ("sm_720", False)])
def test_nvcc_is_asked_for_its_architectures(no_cuda, tools, monkeypatch, codes, knows):
    nvcc = tools("nvcc", f'[ "$1" = --list-gpu-code ] && printf "%s\\n" {codes}\n')
    monkeypatch.setattr(toolchains, "_tools", lambda name: [nvcc] if name == "nvcc" else [])
    found = toolchains.sm_72()
    assert found.status == "warn"  # kernels are compiled by nvrtc
    assert (f"{nvcc} knows sm_72" in found.detail) == knows


@needs_compiler
@pytest.mark.parametrize("archs, status", [("70,72", "ok"), ("75,90", "warn")])
def test_nvrtc_is_asked_for_its_architectures(no_cuda, tmp_path, monkeypatch, archs, status):
    source = f"""
    static int archs[] = {{{archs}}};
    int nvrtcGetNumSupportedArchs(int *n) {{ *n = sizeof archs / sizeof *archs; return 0; }}
    int nvrtcGetSupportedArchs(int *out) {{
        for (unsigned i = 0; i < sizeof archs / sizeof *archs; i++) out[i] = archs[i];
        return 0;
    }}"""
    library = build(source, tmp_path / "libnvrtc.so.12")
    monkeypatch.setattr(toolchains, "_nvrtc_libraries", lambda: [str(library)])
    assert toolchains.sm_72().status == status


@pytest.fixture
def x86(monkeypatch):
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")


def test_aarch64_needs_a_compiler_and_likes_an_emulator(tools, x86):
    missing = toolchains.aarch64()
    assert missing.status == "skip" and missing.mend == "apt-get install g++-aarch64-linux-gnu qemu-user"
    write = 'while [ "$1" != -o ]; do shift; done; printf "\\177ELF0123456789abcdef%b" "{machine}" > "$2"\n'
    first = 'if [ "$1" = --version ]; then echo "aarch64-linux-gnu-g++ 12.2"; exit; fi\n'
    # e_machine is bytes 18 and 19
    write = write.replace("0123456789abcdef", "0123456789abcd")
    tools("aarch64-linux-gnu-g++", first + write.format(machine="\\0076\\0000"))
    assert "ELF machine 62" in toolchains.aarch64().detail
    tools("aarch64-linux-gnu-g++", first + write.format(machine="\\0267\\0000"))
    assert "without qemu-aarch64" in toolchains.aarch64().detail
    tools("qemu-aarch64", "exit 1\n")
    assert "ends with 1" in toolchains.aarch64().detail
    tools("qemu-aarch64", "exit 42\n")
    found = toolchains.aarch64()
    assert found.status == "ok" and "12.2" in found.detail
    tools("aarch64-linux-gnu-g++", "echo 'cannot find crt1.o' >&2; exit 1\n")
    assert "crt1.o" in toolchains.aarch64().detail


DRIVER = """
int cuInit(unsigned flags) {{ return {init}; }}
int cuDriverGetVersion(int *version) {{ *version = 11040; return 0; }}
int cuDeviceGetCount(int *n) {{ *n = {count}; return 0; }}
int cuDeviceGet(int *device, int index) {{ *device = index; return 0; }}
int cuDeviceGetAttribute(int *value, int attribute, int device) {{
    switch (attribute) {{
        case 18: *value = {integrated}; return 0;   /* CU_DEVICE_ATTRIBUTE_INTEGRATED */
        case 19: *value = {mapped}; return 0;       /* ..._CAN_MAP_HOST_MEMORY */
        case 41: *value = 1; return 0;              /* ..._UNIFIED_ADDRESSING */
        case 83: *value = {managed}; return 0;      /* ..._MANAGED_MEMORY */
        case 89: *value = {concurrent}; return 0;   /* ..._CONCURRENT_MANAGED_ACCESS */
        default: return 1;
    }}
}}
"""
SHARED = "integrated (CPU and GPU share memory)"
XAVIER = {"init": 0, "count": 1, "integrated": 1, "mapped": 1, "managed": 1, "concurrent": 0}


@needs_compiler
@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, f"ok cuda(0) {SHARED}: managed memory; mapped host memory"),
        ({"integrated": 0, "concurrent": 1}, "ok cuda(0) discrete: managed memory, also while a kernel runs; mapped"),
        ({"count": 2, "managed": 0}, f"ok cuda(0) {SHARED}: mapped host memory; cuda(1) {SHARED}: mapped host memory"),
        ({"integrated": 0, "mapped": 0, "managed": 0}, "warn cuda(0) discrete: no memory shared with the CPU"),
        ({"count": 0}, "skip no CUDA device"),
        ({"init": 100}, "skip no CUDA device"),
    ],
)
def test_the_driver_is_asked_for_its_memory(tmp_path, changes, expected):
    build(DRIVER.format(**{**XAVIER, **changes}), tmp_path / "libcuda.so.1")
    code = "from tvm_zerocopy.diagnosis.unified_memory import unified_memory as f; r = f(); print(r.status, r.detail)"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip().startswith(expected)


@needs_compiler
def test_a_gpu_that_tvm_does_not_see_and_its_driver(tmp_path):
    """A Jetson with TVM's wheel, whose CUDA runtime asks for CUDA 13."""
    build(DRIVER.format(**XAVIER), tmp_path / "libcuda.so.1")
    code = "from tvm_zerocopy.diagnosis.devices import devices as f; r = f(); print(r.status, r.detail, r.mend)"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(tmp_path)}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.startswith("warn ")
    assert "the driver is of CUDA 11.4: it runs machine code of CUDA 11.x and before" in out.stdout
    assert "has 1 CUDA device(s), TVM sees none" in out.stdout and "docs/jetson.md" in out.stdout
