"""Broken TVM installations, real ones where they can be made here, are recognized by name."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tvm

from tvm_zerocopy.diagnosis import Check, checks, run_checks
from tvm_zerocopy.diagnosis.known_failures import explain, last_line

HERE = "tvm_zerocopy.diagnosis"
IMPORT = Check("TVM import", f"{HERE}.tvm_build:tvm_import")
BUILD = Check("TVM build", f"{HERE}.tvm_build:tvm_build", needs=("TVM import",))


def run(*work):
    return {result.name: result for result in run_checks(work)}


@pytest.fixture
def copied_tvm(tmp_path, monkeypatch):
    """A copy of the installed TVM's Python files (links), found before the real one; yields its folder."""
    original = Path(tvm.__path__[0])
    copy = tmp_path / "broken" / "tvm"
    copy.mkdir(parents=True)
    for entry in original.iterdir():
        if entry.name not in ("lib", "__pycache__"):
            (copy / entry.name).symlink_to(entry)
    monkeypatch.setenv("PYTHONPATH", str(copy.parent))
    monkeypatch.delenv("TVM_LIBRARY_PATH", raising=False)
    return copy


def links_to_files(folder):
    """Replace the linked folder by one of links, so that its files' own paths are here."""
    original = folder.resolve()
    folder.unlink()
    shutil.copytree(original, folder, copy_function=os.symlink, ignore=shutil.ignore_patterns("__pycache__"))


def test_tvm_that_is_not_installed(tmp_path):
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "bare")], check=True)
    python = tmp_path / "bare" / "bin" / "python"
    repository = Path(__file__).resolve().parents[3]
    code = f"""
import sys; sys.path.insert(0, {str(repository)!r})
import os; os.environ["PYTHONPATH"] = {str(repository)!r}
from tvm_zerocopy.diagnosis import checks, run_checks
for result in run_checks(checks()): print(result.name, result.status, result.detail, result.mend, sep="|")
"""
    out = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path).stdout
    found = {line.split("|")[0]: line.split("|") for line in out.splitlines()}
    assert list(found) == [check.name for check in checks()]
    assert found["TVM import"][1] == "fail" and "TVM is not installed" in found["TVM import"][2]
    assert "pip install 'apache-tvm" in found["TVM import"][3]
    assert found["vector add"][1] == "skip" and found["machine"][1] == "ok"


def test_a_core_library_that_is_missing(copied_tvm):
    result = run(IMPORT)["TVM import"]
    assert result.status == "fail" and "core library (libtvm) is missing" in result.detail
    assert "--force-reinstall" in result.mend  # without it pip finds the package installed and does nothing


def test_python_code_that_expects_functions_the_library_lacks(copied_tvm, monkeypatch):
    monkeypatch.setenv("TVM_LIBRARY_PATH", str(Path(tvm.__path__[0]) / "lib"))
    links_to_files(copied_tvm / "ir")
    module = copied_tvm / "ir" / "base.py"
    text = module.read_text()
    module.unlink()
    module.write_text(text + "\n_ffi_api.FunctionOfANewerLibrary\n")
    result = run(IMPORT)["TVM import"]
    assert result.status == "fail" and "half-built" in result.detail and "_ffi_api" in result.detail


def test_a_runtime_without_its_compiler(monkeypatch):
    monkeypatch.setenv("TVM_USE_RUNTIME_LIB", "1")
    found = run(IMPORT, BUILD)
    assert found["TVM import"].status == "ok"
    assert found["TVM build"].status == "fail" and "only TVM's runtime" in found["TVM build"].detail
    assert "TVM_USE_RUNTIME_LIB" in found["TVM build"].detail
    assert found["TVM build"].mend == "unset TVM_USE_RUNTIME_LIB"


@pytest.mark.parametrize(
    "text, cause",
    [
        ("ModuleNotFoundError: No module named 'tvm'", "TVM is not installed"),
        ("ImportError: cannot import name '_ffi_api' from partially initialized module 'tvm.runtime'", "half-built"),
        ("AttributeError: module 'tvm.relay._ffi_api' has no attribute 'PrettyPrint'", "half-built"),
        ("ModuleNotFoundError: No module named 'tvm._ffi._cy3'", "foreign function interface is missing"),
        ("ModuleNotFoundError: No module named 'tvm_ffi'", "foreign function interface is missing"),
        ("RuntimeError: Cannot find the files.\nList of candidates:\n/x/libtvm.so", "core library (libtvm) is missing"),
        ("OSError: libtvm.so: cannot open shared object file: No such file or directory", "core library (libtvm)"),
        ("OSError: /x/libtvm.so: undefined symbol: _ZN3tvm7runtime3FooE", "does not match another library"),
        ("OSError: libcudart.so.11.0: cannot open shared object file: No such file", "does not find CUDA's libraries"),
        ("OSError: libLLVM-10.so.1: cannot open shared object file: No such file or directory", "shared LLVM"),
        ("OSError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by libtvm.so)", "newer C/C++"),
        ("ValueError: Cannot find global function target.build.llvm", "built without LLVM"),
        ("TVMError: Check failed: bf != nullptr: target.build.cuda is not enabled", "built without CUDA"),
        ("RuntimeError: CUDAError: no kernel image is available for execution on the device", "know this GPU"),
        ("RuntimeError: Compilation error:\nnvcc fatal : Unsupported gpu architecture 'compute_72'", "know this GPU"),
        ("RuntimeError: Failed to compile: the `cuda-bindings` package is not installed", "needs cuda-bindings"),
        ("ValueError: 'ffi.Tensor' already has a registered class (<class 'tvm_ffi.core.Tensor'>)", "does not fit"),
        ("ValueError: Cannot find object type index for ir.OpaqueType", "half-built"),  # 0.27 over 0.26's library
        ("TypeError: __ffi_shallow_copy__ must be an ffi.Function", "does not fit"),  # 0.27 with the FFI of 0.26
        ("ImportError: cannot import name 'TensorLoad' from 'tvm.ir' (/x/__init__.py)", "of another version"),
        ("OSError: /x/libtvm_compiler.so: file too short", "not whole"),
        ("ModuleNotFoundError: No module named 'psutil'", "package psutil is missing"),
    ],
)  # fmt: skip
def test_messages_are_recognized(text, cause):
    trace = 'Traceback (most recent call last):\n  File "/x/tvm/_ffi/_ffi_api.py", line 1, in <module>\n' + text
    result = explain(trace, None)
    assert result.status == "fail" and cause in result.detail and result.mend


def test_a_library_cut_short_is_known_by_its_signal():
    found = explain("Fatal Python error: Bus error", -7)
    assert "not whole" in found.detail and "--force-reinstall" in found.mend


def test_an_unknown_error_says_its_own_line():
    result = explain('Traceback (most recent call last):\n  File "x", line 1\nKeyError: 3\n', None)
    assert result.detail == "KeyError: 3" and "report it" in result.mend
    assert last_line("a\nValueError: broken\n  with more\n") == "ValueError: broken"
    assert last_line("") == "no message"


@pytest.mark.parametrize(
    "ffi, version, crashes", [("0.1.15", "0.27.0", 1), ("0.1.14", "0.27.0", 0), ("0.1.15", "1.0", 0)]
)
def test_the_ffi_that_crashes_is_blamed_only_where_it_is_installed(monkeypatch, ffi, version, crashes):
    versions = {"apache-tvm-ffi": ffi, "apache-tvm": version}
    monkeypatch.setattr(f"{HERE}.known_failures.installed", versions.get)
    result = explain("Fatal Python error: Segmentation fault", -11)
    assert ("apache-tvm-ffi" in result.detail) == bool(crashes)
    assert "segmentation fault" in result.detail


def test_packages_of_the_tuner_come_with_its_extra():
    result = explain("ModuleNotFoundError: No module named 'xgboost'", None)
    assert "tuning needs the Python package xgboost" in result.detail and result.mend.endswith("'tvm-zerocopy[tune]'")
