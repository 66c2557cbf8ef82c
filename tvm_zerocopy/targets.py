"""From what a user calls a target ("llvm", "llvm -mcpu=znver4", a tag, a dictionary) to a complete TVM target."""

from __future__ import annotations

import json
import platform
import shlex

import tvm
from tvm.target import Target, codegen, list_tags

from .cuda_toolchain import arch_number
from .errors import UnsupportedError
from .runtime import cpu_flags
from .threads import AVAILABLE

# By architecture, LLVM's feature name -> the flag of /proc/cpuinfo. LLVM derives the host's name from family and model,
# which a hypervisor may not report truly: these are the features whose presence changes how kernels are written.
CPUINFO_FLAGS = {
    "x86_64": {
        "avx": "avx",
        "avx2": "avx2",
        "fma": "fma",
        "avx512f": "avx512f",
        "avx512bw": "avx512bw",
        "avx512dq": "avx512dq",
        "avx512vl": "avx512vl",
        "avx512vnni": "avx512_vnni",
        "avx512bf16": "avx512_bf16",
        "amx-tile": "amx_tile",
        "amx-bf16": "amx_bf16",
        "amx-int8": "amx_int8",
    },
    "aarch64": {
        "fullfp16": "asimdhp",
        "dotprod": "asimddp",
        "bf16": "bf16",
        "i8mm": "i8mm",
        "sve": "sve",
        "sve2": "sve2",
    },
}
EXAMPLES = 'such as "llvm", "llvm -mcpu=znver4", "cuda -arch=sm_72" or "nvidia/jetson-agx-xavier"'


def resolve_target(target: str | dict | Target = "llvm", code: bool = True) -> Target:
    """The complete target that a name stands for.

    Parameters
    ----------
    target : str, dict or tvm.target.Target
        ``"llvm"``: this machine's CPU with its features and cores. ``"llvm -mcpu=NAME -mtriple=... -num-cores=N
        -mattr=+a,-b"`` (or a dictionary, or JSON): kept as it says; a missing core count becomes this machine's.
        A TVM tag, for example ``"nvidia/jetson-agx-xavier"``: kept. ``"cuda"``: the GPU of this machine. A GPU target
        without a host gets this machine's CPU as host.
    code : bool
        False: a target that this TVM build has no code generator for is fine too.

    Returns
    -------
    tvm.target.Target

    Raises
    ------
    UnsupportedError
        If TVM cannot parse the target, LLVM does not know the CPU, the GPU's architecture is no name of one, or this
        TVM build has no code generator for it.
    """
    config = _parse(target)
    kind = config.get("kind")
    if kind == "llvm" and not _names_a_cpu(config):
        config = {**host_cpu(), **config}
    if kind == "llvm" and not config.get("mtriple") and system_triple() != str(codegen.llvm_get_system_triple()):
        config = {**config, "mtriple": system_triple()}
    if kind == "cuda" and "arch" not in config:
        config = {**config, "arch": _local_cuda_arch()}
    try:
        resolved = Target(config)
    except (ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[-1].split(" Target creation from")[0].rstrip(".")
        raise UnsupportedError(f"target {target!r} is not one TVM knows ({reason}); give one {EXAMPLES}") from error
    if resolved.kind.name == "cuda":
        arch_number(str(resolved.attrs["arch"]))
    if code:
        _check(resolved, target)
    if resolved.kind.name == "llvm" and not resolved.attrs.get("num-cores"):
        return Target({**resolved.export(), "num-cores": available_cores()})
    if resolved.kind.name != "llvm" and resolved.host is None:
        return Target(resolved, host=Target(host_cpu()))
    return resolved


def host_cpu() -> dict:
    """This machine's CPU as a target configuration: LLVM's name, the features that the name gets wrong, and cores."""
    config = {
        "kind": "llvm",
        "mtriple": system_triple(),
        "mcpu": codegen.llvm_get_system_cpu(),
        "num-cores": available_cores(),
    }
    differences = _feature_differences(config)
    return {**config, "mattr": differences} if differences else config


def system_triple() -> str:
    """LLVM's triple for this machine; some vendors' builds are made for another one by default."""
    triple, machine = str(codegen.llvm_get_system_triple()), platform.machine()
    architecture = triple.split("-")[0].replace("arm64", "aarch64")
    return triple if architecture == machine else f"{machine}-linux-gnu"


def available_cores() -> int:
    """Cores that this process may run on."""
    return AVAILABLE


def _parse(target) -> dict:
    if isinstance(target, Target):
        return dict(target.export())
    if isinstance(target, dict):
        return dict(target)
    if not isinstance(target, str) or not target.strip():
        raise UnsupportedError(f"target is {target!r}; it must be a string, a dictionary or a tvm Target, {EXAMPLES}")
    text = target.strip()
    if text.startswith("{"):
        try:
            return dict(json.loads(text))
        except ValueError as error:
            raise UnsupportedError(f"target {text!r} is not valid JSON ({error}); give one {EXAMPLES}") from error
    if text in list_tags():
        return dict(Target(text).export())
    return _parse_options(text)


def _parse_options(text: str) -> dict:
    """``kind -option=value -flag``: the form of TVM before 0.27, which no longer reads it."""
    kind, *options = shlex.split(text)
    config = {"kind": kind}
    for option in options:
        name, _, value = option.lstrip("-").partition("=")
        if not option.startswith("-") or not name:
            raise UnsupportedError(f"target {text!r}: {option!r} is no option; write -name=value, {EXAMPLES}")
        if name in ("mattr", "libs", "keys", "cl-opt"):
            config[name] = value.split(",")
        elif name in ("num-cores", "opt-level", "vector-width"):
            if not value.isdigit() or int(value) < 1:
                raise UnsupportedError(f"target {text!r}: -{name} is {value!r}; it must be an integer of at least 1")
            config[name] = int(value)
        else:
            config[name] = value if value else True
    return config


def _names_a_cpu(config: dict) -> bool:
    return any(config.get(key) for key in ("mcpu", "mtriple", "mattr"))


def _local_cuda_arch() -> str:
    device = tvm.cuda(0)
    if not device.exist:
        raise UnsupportedError(
            'target "cuda" means the GPU of this machine, and TVM sees none; name the GPU: "cuda -arch=sm_72" '
            'or a tag such as "nvidia/jetson-agx-xavier"'
        )
    return "sm_" + device.compute_version.replace(".", "")


def _check(resolved: Target, asked) -> None:
    kind = resolved.kind.name
    if tvm.get_global_func(f"target.build.{kind}", allow_missing=True) is None:
        raise UnsupportedError(
            f"target {asked!r} needs TVM's {kind} code generator, which this TVM build lacks; "
            f"use another target or a TVM built with USE_{kind.upper()}=ON"
        )
    llvm = resolved if kind == "llvm" else resolved.host
    if llvm is None or llvm.kind.name != "llvm":
        return
    triple = llvm.attrs.get("mtriple") or codegen.llvm_get_system_triple()
    cpu = llvm.attrs.get("mcpu")
    if str(triple).split("-")[0].startswith("arm64"):
        triple = "aarch64" + str(triple)[len("arm64") :]
    architecture = str(triple).split("-")[0]
    known = {str(name) for name in codegen.llvm_get_targets()}
    if architecture not in known and not (architecture[:1] == "i" and architecture.endswith("86")):
        raise UnsupportedError(
            f"target {asked!r}: this TVM's LLVM has no {architecture} code generator; it has {', '.join(sorted(known))}"
        )
    if cpu and not _knows_cpu(str(cpu), str(triple)):
        raise UnsupportedError(
            f"target {asked!r}: LLVM {codegen.llvm_version_major()} knows no CPU {str(cpu)!r} for {triple}; "
            f'name one that it knows (clang --print-supported-cpus lists them) or say "llvm" for this machine'
        )


def _knows_cpu(cpu: str, triple: str) -> bool:
    if hasattr(codegen, "llvm_is_valid_cpu"):
        return codegen.llvm_is_valid_cpu(cpu, triple)
    return cpu in codegen.llvm_get_cpu_archlist(Target({"kind": "llvm", "mtriple": triple}))  # TVM up to 0.19


def _feature_differences(config: dict) -> list:
    """Features that this machine has and its name lacks ("+x"), or the other way round ("-x")."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return []
    flags = cpu_flags()
    if not flags:
        return []
    named = {str(feature) for feature in codegen.llvm_get_cpu_features(Target(config))}
    differences = []
    for feature, flag in CPUINFO_FLAGS["x86_64"].items():
        if (flag in flags) != (feature in named):
            differences.append(("+" if flag in flags else "-") + feature)
    return differences
