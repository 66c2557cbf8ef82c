"""What pip installs: one import name, every file, usable from any folder; tried in fresh environments."""

import ast
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {
    "tvm_zerocopy": "tvm_zerocopy",
    "passes": "tvm_zerocopy/passes",
    "schedules": "tvm_zerocopy/schedules",
    "tuning_logs": "tvm_zerocopy/tuning_logs",
}
IMPORTS = """
import importlib, importlib.util, pathlib
import tvm_zerocopy as tz
from tvm_zerocopy import passes, schedules, tuning_logs
from tvm_zerocopy.passes.block_layout import BlockLayout
from tvm_zerocopy.schedules import cpu
for name in ("passes", "schedules", "tuning_logs", "benchmarks", "tests"):
    assert importlib.util.find_spec(name) is None, f"{name} is importable at top level"
print(pathlib.Path(tz.__file__).parent)
"""


def run(*command, cwd, **more):
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COVERAGE", "PYTEST"))}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True, timeout=300, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def fresh_environment(folder: Path) -> Path:
    """A new environment that sees this one's packages, but not what is installed here in development mode."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    own = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder))
    # A path in a .pth file is searched, but the .pth files in it (development mode is one) are not read.
    (own / "dependencies.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}))
    return python


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A copy of the sources, so that building leaves nothing in the repository."""
    folder = tmp_path_factory.mktemp("source") / "tvm-zerocopy"
    folder.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder)
    return folder


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", out, source]
    run(*pip, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_has_every_file_under_one_name(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert {name.split("/")[0] for name in names} == {"tvm_zerocopy"}
    expected = set()
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith("."):
                expected.add(f"{package}/{path.relative_to(ROOT / folder).as_posix()}")
    assert names == expected


def test_an_installed_wheel_works_from_any_folder(wheel, tmp_path):
    python = fresh_environment(tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", wheel]
    run(*pip, cwd=tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = Path(run(python, "-c", IMPORTS, cwd=elsewhere))
    assert (tmp_path / "venv") in where.parents
    assert run(tmp_path / "venv/bin/tvm-zerocopy", "--version", cwd=elsewhere).startswith("tvm-zerocopy ")
    assert "example:" in run(python, "-m", "tvm_zerocopy.detect", "--help", cwd=elsewhere)


def test_a_development_install_works_from_any_folder(source, tmp_path):
    python = fresh_environment(tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*pip, "-e", source, cwd=tmp_path)
    assert Path(run(python, "-c", IMPORTS, cwd=tmp_path)) == source / "tvm_zerocopy"


@pytest.mark.parametrize("command", ["compile", "detect"])
def test_commands_run_as_modules_but_cannot_be_imported(command):
    """``tvm_zerocopy.compile`` is the function, although the file for ``python -m`` has the same name."""
    code = f"""
import importlib
import tvm_zerocopy as tz
try:
    importlib.import_module("tvm_zerocopy.{command}")
except ImportError as error:
    print(error)
else:
    raise SystemExit("imported")
assert callable(tz.compile) and tz.compile.__module__ == "tvm_zerocopy.compiler"
from tvm_zerocopy import compile as function
assert function is tz.compile
"""
    assert "not a module" in run(sys.executable, "-c", code, cwd=ROOT.parent)


def test_specs_load_without_tvm_and_numpy():
    code = """
import sys
sys.modules.update(dict.fromkeys(("tvm", "numpy", "onnx"), None))
import tvm_zerocopy as tz
tz.Frame("nv12", 1080, 1920), tz.Preprocess(), tz.Nms()
"""
    run(sys.executable, "-c", code, cwd=ROOT.parent)


@pytest.mark.parametrize("folder", ["tvm_zerocopy", "passes", "schedules"])
def test_the_sources_are_python_3_8(folder):
    for path in (ROOT / folder).rglob("*.py"):
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 8))
