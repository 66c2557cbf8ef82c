"""Programs compiled for CUDA, run without a GPU: the host code as always, the kernels' generated CUDA C as C++.

What runs is what NVRTC would compile: its threads, shared memory, barriers and tensor-core tiles. What it cannot show
is how fast it is, and races between warps that one order of threads happens to hide.

Accesses outside of arrays show under AddressSanitizer::

    EMULATOR_CXXFLAGS="-fsanitize=address -g" ASAN_OPTIONS=detect_leaks=0:detect_stack_use_after_return=0 \
    LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so)" \
    pytest tests/tvm_zerocopy/cuda_on_cpu
"""

import os
import re
import subprocess
from pathlib import Path

import tvm
from tvm.tirx.build import codegen_build

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.program import split_module

HERE = Path(__file__).parent
ARGUMENTS = """
#include "simt.h"
struct TVMFFIAny { int32_t type_index; uint32_t padding; union { int64_t v_int64; double v_float64; void *v_ptr; }; };
"""
sources = []  # of what was built, in order
DIMENSIONS = {"blockIdx": "g", "threadIdx": "b"}


def build(lowered, target, folder) -> tvm.runtime.Module:
    """In the place of `program.build_module`: a module that runs here and takes "CUDA" tensors in host memory."""
    host_mod, device_mods = split_module(lowered, target)
    source, wrappers = "", ""
    for device, kernels in device_mods.items():
        source += codegen_build(kernels, device).inspect_source("cuda")
        wrappers += "".join(_wrapper(var.name_hint, func, source) for var, func in kernels.functions.items())
    sources.append(source)
    folder = Path(folder)
    (folder / "kernels.cc").write_text(ARGUMENTS + _as_cxx(source) + wrappers + _set_device())
    library = folder / "kernels.so"
    options = ["-O1", "-std=c++17", "-w", "-fno-strict-aliasing", "-ffp-contract=off", "-shared", "-fPIC", f"-I{HERE}"]
    options += os.environ.get("EMULATOR_CXXFLAGS", "").split()
    subprocess.run(["g++", *options, str(folder / "kernels.cc"), "-o", str(library)], check=True)
    host = codegen_build(host_mod, target.host)
    host.import_module(tvm.runtime.load_module(str(library)))
    return host


def _as_cxx(source: str) -> str:
    """The generated code without the headers and helpers that simt.h stands for."""
    first = source.index('extern "C" __global__')
    kernels = re.sub(r"__shared__ (alignas\(\d+\))", r"\1 static", source[first:])
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
    dims = [
        f"{DIMENSIONS[tag.split('.')[0]]}.{tag.split('.')[1]} = args[{len(arguments) + place}].v_int64;"
        for place, tag in enumerate(tags)
    ]
    barriers = "true" if "__syncthreads" in body.group(1) else "false"
    call = f"{name}({', '.join(f'{name}_a{index}' for index in range(len(arguments)))});"
    return f"""
{" ".join(globals_)}
static void {name}_call() {{ {call} }}
extern "C" int __tvm_ffi_{name}(void *, const TVMFFIAny *args, int, TVMFFIAny *) {{
  dim3_ g, b;
  {" ".join(arguments)} {" ".join(dims)}
  simt::launch(g, b, {barriers}, {name}_call);
  return 0;
}}
"""


def _set_device() -> str:
    return 'extern "C" int __tvm_ffi___tvm_set_device(void *, const TVMFFIAny *, int, TVMFFIAny *) { return 0; }\n'


def managed(array) -> ExternalBuffer:
    """The array's values in managed memory, where frames and what kernels read and write lie."""
    buffer = ExternalBuffer.allocate(array.shape, array.dtype, kind="managed")
    with buffer.for_host() as host:
        host[...] = array
    return buffer
