"""Building ``run_artifact`` against a TVM runtime, this machine's or another's."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from ..errors import UnsupportedError

SOURCE = Path(__file__).with_name("run_artifact.cc")
LIBRARIES = ("libtvm_runtime.so", "libtvm_ffi.so")


def build_runner(output, *, site=None, compiler: str | None = None) -> Path:
    """Compile the runner; its path.

    The program finds TVM's libraries where they were at build time, or beside itself (``$ORIGIN``), so that a folder
    with all three can be copied to a board.

    Parameters
    ----------
    output : path
        The executable.
    site : path or None
        Where the target machine's apache-tvm and apache-tvm-ffi wheels were unpacked or installed
        (``pip install --target``); None: this Python's.
    compiler : str or None
        None: ``$CXX``, or ``g++`` or ``clang++``. For a Jetson ``aarch64-linux-gnu-g++``; a glibc newer than the
        board's then asks for the newer one on the board, where the same command can be given to its own compiler.

    Raises
    ------
    UnsupportedError
        If the compiler or TVM's libraries and headers are missing, or compiling fails.
    """
    names = [compiler] if compiler else [os.environ.get("CXX", ""), "g++", "clang++"]
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        triple = compiler.rsplit("-", 1)[0] + "-" if compiler and "-" in compiler else ""
        package = f"g++-{triple.rstrip('-')}" if triple else "g++"
        raise UnsupportedError(f"{names[0] or 'g++'} is not installed; apt install {package}")
    libraries, include = runtime_folders(site)
    command = [program, "-std=c++17", "-O2", str(SOURCE), "-o", str(output), "-isystem", str(include)]
    for folder in dict.fromkeys(library.parent for library in libraries):
        command += ["-L", str(folder), f"-Wl,-rpath,{folder}"]
    command += ["-Wl,-rpath,$ORIGIN", "-Wl,--no-as-needed", "-ltvm_runtime", "-ltvm_ffi"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["?"]
        raise UnsupportedError(f"{Path(program).name} cannot build the runner: {lines[0].strip()}")
    return Path(output)


def runtime_folders(site=None) -> tuple[list[Path], Path]:
    """TVM's runtime libraries in a site-packages folder, and the folder of tvm-ffi's headers.

    Raises
    ------
    UnsupportedError
        If one of them is missing.
    """
    roots = {name: _package(name, site) for name in ("tvm", "tvm_ffi")}
    libraries = [roots["tvm"] / "lib" / LIBRARIES[0], roots["tvm_ffi"] / "lib" / LIBRARIES[1]]
    include = roots["tvm_ffi"] / "include"
    for path in (*libraries, include / "tvm" / "ffi" / "c_api.h"):
        if not path.is_file():
            raise UnsupportedError(f"{path} is missing; unpack the apache-tvm and apache-tvm-ffi wheels there")
    return libraries, include


def _package(name: str, site) -> Path:
    if site is not None:
        return Path(site) / name
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.origin:
        raise UnsupportedError(f"{name} is not installed; pip install 'apache-tvm>=0.27,<0.28'")
    return Path(spec.origin).parent
