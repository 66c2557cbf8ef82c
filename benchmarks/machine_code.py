"""What machine code for Jetson AGX Xavier is made of: every kernel disassembled. Needs no GPU.

    pip install -e ".[cuda12]"
    python benchmarks/machine_code.py                                     # the five models in both precisions
    python benchmarks/machine_code.py yolov5s --precision float16 --nvdisasm /usr/local/cuda-12.9/bin/nvdisasm

Printed for each kernel: instructions, HMMA (multiply-adds of the tensor cores), FFMA, accesses to local memory (spilled
registers, arrays that did not fit). Exit status 1 if a kernel accesses local memory, if a float16 convolution has no
HMMA, or if anything else has.

nvdisasm must be of CUDA 13.0 or older: later ones do not know sm_72, and the wheels nvidia-cuda-nvdisasm begin with
13.2. The wheel of triton 3.1.0 holds that of 12.4; a wheel is a zip file:

    pip download --no-deps triton==3.1.0 && unzip -j triton-3.1.0-*.whl "*/nvdisasm" && chmod +x nvdisasm
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import tvm_zerocopy as tz
from tvm_zerocopy import cuda_toolchain, models
from tvm_zerocopy.device_code import cuda_source
from tvm_zerocopy.errors import ZeroCopyError, ZeroCopyWarning

ARCH, XAVIER = "sm_72", "nvidia/jetson-agx-xavier"
MODELS = ("yolov5n", "yolov5s", "yolov8n", "yolov8s", "resnet18")
PRECISIONS = ("float32", "float16")
KINDS = {"instructions": r".", "HMMA": r"HMMA\.", "FFMA": r"FFMA\b", "local": r"(LDL|STL)\b"}


def disassemble(cubin: bytes, nvdisasm: str) -> dict[str, dict[str, int]]:
    """{kernel: {kind of `KINDS`: how many}}

    Raises
    ------
    ZeroCopyError
        If nvdisasm does not know the architecture.
    """
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([nvdisasm, "-c", file.name], capture_output=True, text=True)
    if done.returncode:
        raise ZeroCopyError(f"{nvdisasm}: {done.stderr.strip()}; give one of CUDA 11 or 12: --nvdisasm")
    kernels, counts = {}, None
    for line in done.stdout.splitlines():
        label = re.match(r"\.text\.(\w+):", line.strip())
        if label:
            counts = kernels.setdefault(label.group(1), dict.fromkeys(KINDS, 0))
        instruction = re.match(r"/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z].*)", line.strip())
        if instruction and counts is not None:
            for kind, pattern in KINDS.items():
                counts[kind] += bool(re.match(pattern, instruction.group(2)))
    return kernels


def faults(kernels, precision: str):
    """One line for each."""
    for name, counts in kernels.items():
        tensor_cores = "conv2d" in name and precision == "float16"
        if counts["local"]:
            yield f"{name} accesses local memory"
        if (counts["HMMA"] > 0) != tensor_cores:
            yield f"{name} has {counts['HMMA']} HMMA"


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS, metavar="MODEL", help=f"default: {', '.join(MODELS)}")
    parser.add_argument("--precision", action="append", choices=PRECISIONS, help="default: both")
    parser.add_argument("--size", type=int, help="pixels a side of the network's input; default: the model's own")
    parser.add_argument("--nvdisasm", default="nvdisasm", help="default: the one in PATH")
    args = parser.parse_args(arguments)
    if shutil.which(args.nvdisasm) is None:
        parser.error(f"there is no {args.nvdisasm}; --help says where one comes from")
    warnings.simplefilter("ignore", ZeroCopyWarning)
    status = 0
    for name in args.models:
        for precision in args.precision or PRECISIONS:
            options = {"postprocess": None, "preprocess": tz.Preprocess.imagenet()} if name == "resnet18" else {}
            engine = tz.compile(models.build(name, size=args.size), target=XAVIER, precision=precision, **options)
            cubin = cuda_toolchain.compile_source(cuda_source(engine.module), ARCH)
            kernels = disassemble(cubin, args.nvdisasm)
            print(f"{name} {precision}")
            for kernel, counts in kernels.items():
                print(f"  {kernel}: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))
            whole = {kind: sum(counts[kind] for counts in kernels.values()) for kind in KINDS}
            convolutions = sum("conv2d" in kernel for kernel in kernels)
            print(f"  all {len(kernels)} kernels, {convolutions} convolutions: {whole}")
            for line in faults(kernels, precision):
                print(f"  WRONG: {line}")
                status = 1
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ZeroCopyError, ValueError) as error:
        sys.exit(f"error: {Path(sys.argv[0]).name}: {error}")
