"""Programs compiled for CUDA, run without a GPU: the host code as always, the kernels' generated CUDA C as C++.

What runs is what NVRTC would compile: its threads, shared memory, barriers and tensor-core tiles. What it cannot show
is how fast it is. ``EMULATOR_CHECKS=threads`` in the environment checks every access of every thread, too (`simt.cc`
says for what); ``EMULATOR_CHECKS=addresses`` compiles the kernels with AddressSanitizer, whose library must be loaded
first. `.ci/cuda_checks` runs all these tests both ways.
"""

import functools
import math
import os
import re
import subprocess
import tempfile
from pathlib import Path

import tvm
import tvm_ffi
from tvm import tirx
from tvm.tirx.build import codegen_build
from tvm_ffi import structural_walk

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.program import split_module

HERE = Path(__file__).parent
ARGUMENTS = """
#include "simt.h"
struct TVMFFIAny { int32_t type_index; uint32_t padding; union { int64_t v_int64; double v_float64; void *v_ptr; }; };
#define UNCHECKED __attribute__((no_sanitize("thread")))
extern "C" void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);
"""
CXX = ["g++", "-O1", "-std=c++17", "-w", "-fno-strict-aliasing", "-ffp-contract=off", "-fPIC", f"-I{HERE}"]
CHECKS = {  # by EMULATOR_CHECKS: of everything, of the kernels alone, of the library
    "": ([], [], []),
    "threads": (["-DCHECK_THREADS"], ["-fsanitize=thread"], []),
    "addresses": (
        ["-DCHECK_ADDRESSES", "-g"],
        ["-fsanitize=address", "-fsanitize-recover=address"],  # goes on where ASAN_OPTIONS say so
        ["-fsanitize=address"],
    ),
}
sources, folders = [], []  # of what was built, in order
DIMENSIONS = {"blockIdx": "g", "threadIdx": "b"}


def build(lowered, target, folder, checks=None, change=None) -> tvm.runtime.Module:
    """In the place of `program.build_module`: a module that runs here and takes "CUDA" tensors in host memory.

    Parameters
    ----------
    lowered, target
        As `program.build_module` takes them.
    folder : path
        For what is compiled.
    checks : str, optional
        Of `CHECKS`; default: EMULATOR_CHECKS in the environment. What they find, and threads of a block that wait at
        different barriers, raises RuntimeError when it runs (AddressSanitizer ends the process).
    change : callable, optional
        ``source -> source``: of the kernels, before they are compiled.
    """
    host_mod, device_mods = split_module(lowered, target)
    source, wrappers = "", ""
    for device, kernels in device_mods.items():
        source += codegen_build(kernels, device).inspect_source("cuda")
        wrappers += "".join(_wrapper(var.name_hint, func, source) for var, func in kernels.functions.items())
    sources.append(source)
    folders.append(Path(folder))
    checks = os.environ.get("EMULATOR_CHECKS", "") if checks is None else checks
    everywhere, kernels_only, linking = CHECKS[checks]
    folder = Path(folder)
    kernels = _as_cxx(source)
    (folder / "kernels.cc").write_text(ARGUMENTS + (change(kernels) if change else kernels) + wrappers + _set_device())
    library, code = folder / "kernels.so", folder / "kernels.o"
    _compile(*everywhere, *kernels_only, "-c", folder / "kernels.cc", "-o", code)
    # its own names first: other kernels' libraries have the same ones
    runtime = tvm_ffi.libinfo.find_libtvm_ffi()
    _compile(code, _scheduler(checks), "-shared", "-Wl,-Bsymbolic", *linking, runtime, "-o", library)
    host = codegen_build(host_mod, target.host)
    host.import_module(tvm.runtime.load_module(str(library)))
    return host


@functools.lru_cache(maxsize=None)
def _scheduler(checks: str) -> Path:
    """`simt.cc`, compiled once a process."""
    code = Path(tempfile.mkdtemp(prefix="simt-")) / "simt.o"
    _compile("-O2", *CHECKS[checks][0], "-c", HERE / "simt.cc", "-o", code)
    return code


def _compile(*arguments) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}  # a sanitizer's library
    subprocess.run([*CXX, *map(str, arguments)], env=environment, check=True)


def _as_cxx(source: str) -> str:
    """The generated code without the headers and helpers that simt.h stands for."""
    first = source.index('extern "C" __global__')
    declaration = r"__shared__ (alignas\(\d+\)) ([\w ]+) (\w+)\[(\d+)\];"
    kernels = re.sub(declaration, r"SHARED(\1, \2, \3, \4);", source[first:])
    assert "__shared__" not in kernels
    names = "#define uint unsigned int\n#define uchar unsigned char\n#define ushort unsigned short\n"
    return names + kernels


def _wrapper(name: str, func, source: str) -> str:
    """The kernel as a function of TVM's calling convention: its arguments, then its grid and block."""
    tags = [str(tag) for tag in func.attrs["tirx.kernel_launch_params"]]
    body = re.search(rf"\b{name}\([^)]*\) \{{\n(.*?)\n}}\n", source, re.S)
    signature = re.search(rf"\b{name}\(([^)]*)\) \{{", source).group(1)
    arguments, globals_ = [], []
    for index, parameter in enumerate(signature.split(",")):
        kind = parameter.strip().rsplit(" ", 1)[0].replace("__restrict__", "").strip()
        variable = f"{name}_a{index}"
        globals_.append(f"static {kind} {variable};")
        value = "v_ptr" if kind.endswith("*") else "v_float64" if kind in ("float", "double") else "v_int64"
        arguments.append(f"{variable} = ({kind})args[{index}].{value};")
    sizes = _argument_bytes(func)
    pointers = [
        f'{{"{parameter.name}", (void **)&{name}_a{index}, {sizes.get(index, -1)}}}'
        for index, parameter in enumerate(func.params)
        if globals_[index].split()[-2].endswith("*")
    ]
    dims = [
        f"{DIMENSIONS[tag.split('.')[0]]}.{tag.split('.')[1]} = args[{len(arguments) + place}].v_int64;"
        for place, tag in enumerate(tags)
    ]
    barriers = "true" if "__syncthreads" in body.group(1) else "false"
    call = f"{name}({', '.join(f'{name}_a{index}' for index in range(len(arguments)))});"
    return f"""
{" ".join(globals_)}
UNCHECKED static void {name}_call() {{ {call} }}
extern "C" UNCHECKED int __tvm_ffi_{name}(void *, const TVMFFIAny *args, int, TVMFFIAny *) {{
  dim3_ g, b;
  {" ".join(arguments)} {" ".join(dims)}
  const simt::Argument pointers[] = {{ {", ".join(pointers)} }};
  const char *wrong = simt::launch("{name}", g, b, {barriers}, {name}_call, pointers, {len(pointers)});
  if (!wrong) return 0;
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", wrong);
  return -1;
}}
"""


def _argument_bytes(func) -> dict:
    """{parameter's place: bytes of its buffer}, of several views of one pointer the largest; none of run-time sizes."""
    found, unknown = {}, set()

    def visit(node):
        used = []
        structural_walk(node.data, (tirx.Var, used.append))
        for index, parameter in enumerate(func.params):
            if not any(parameter.same_as(var) for var in used):
                continue
            if not all(isinstance(extent, tirx.IntImm) for extent in node.buffer.shape):
                unknown.add(index)
                continue
            dtype = tvm.DataType(str(node.buffer.dtype))
            count = math.prod(int(extent) for extent in node.buffer.shape)
            found[index] = max(found.get(index, 0), count * dtype.lanes * -(-dtype.bits // 8))

    structural_walk(func.body, (tirx.DeclBuffer, visit))
    return {index: nbytes for index, nbytes in found.items() if index not in unknown}


def _set_device() -> str:
    return 'extern "C" int __tvm_ffi___tvm_set_device(void *, const TVMFFIAny *, int, TVMFFIAny *) { return 0; }\n'


def managed(array) -> ExternalBuffer:
    """The array's values in managed memory, where frames and what kernels read and write lie."""
    buffer = ExternalBuffer.allocate(array.shape, array.dtype, kind="managed")
    with buffer.for_host() as host:
        host[...] = array
    return buffer
