"""A kernel that reverses each block's values through shared memory, and faults to plant in its generated source."""

import sys
from pathlib import Path

import emulator
import numpy as np
import tvm
from emulator import managed
from tvm.script import tirx as T
from tvm.target import Target

BLOCKS, THREADS = 3, 64
FAULTS = {  # what: (in the source, what becomes of it)
    "global read": ("= a_ptr[{index}]", "= a_ptr[{index} + 64]"),
    "global write": ("b_ptr[{index}] =", "b_ptr[{index} + 64] ="),
    "shared read": ("tile_ptr[(63 -", "tile_ptr[(64 -"),
    "shared write": ("tile_ptr[((int)threadIdx.x)] =", "tile_ptr[((int)threadIdx.x) + 1] ="),
    "barrier": ("__syncthreads();", ""),
    "divergence": ("__syncthreads();", "if (threadIdx.x < 32)\n__syncthreads();\nelse\n__syncthreads();"),
}
INDEX = "((((int)blockIdx.x) * 64) + ((int)threadIdx.x))"


@T.prim_func(s_tir=True)
def reverse(a: T.Buffer((BLOCKS * THREADS,), "float32"), b: T.Buffer((BLOCKS * THREADS,), "float32")):
    T.func_attr({"tirx.is_scheduled": True, "tirx.noalias": True})
    with T.sblock("root"):
        T.reads()
        T.writes()
        for block in T.thread_binding(BLOCKS, thread="blockIdx.x"):
            for t in T.thread_binding(THREADS, thread="threadIdx.x"):
                tile = T.alloc_buffer((THREADS,), "float32", scope="shared")
                tile[t] = a[block * THREADS + t]
                T.tvm_storage_sync("shared")
                b[block * THREADS + t] = tile[THREADS - 1 - t]


def planted(fault):
    """``change`` for `emulator.build`; None plants nothing."""

    def change(source):
        if fault is None:
            return source
        before, after = (text.replace("{index}", INDEX) for text in FAULTS[fault])
        assert source.count(before) == 1, (before, source)
        return source.replace(before, after)

    return change


def run(folder, fault=None, checks=None):
    """(what it gave, what is right)"""
    from tvm_zerocopy.targets import host_cpu

    target = Target(Target("nvidia/jetson-agx-xavier"), host=Target(host_cpu()))
    mod = tvm.IRModule({"main": reverse.with_attr("global_symbol", "main")})
    built = emulator.build(mod, target, folder, checks, planted(fault))
    values = np.random.default_rng(0).standard_normal(BLOCKS * THREADS).astype("float32")
    result = managed(np.zeros_like(values))
    built["main"](managed(values).tensor(), result.tensor())
    with result.for_host() as host:
        return host.copy(), values.reshape(BLOCKS, THREADS)[:, ::-1].reshape(-1)


if __name__ == "__main__":  # under AddressSanitizer, told to go on: python planted.py FOLDER
    sys.path.append(str(Path(__file__).parents[1] / "buffers"))
    from fake_bindings import FakeBindings

    from tvm_zerocopy.buffers import cuda

    stand_in = cuda.CudaRuntime(FakeBindings())
    cuda.runtime = lambda: stand_in
    for number, name in enumerate([None, "global read", "global write", "shared read", "shared write"]):
        place = Path(sys.argv[1], str(number))
        place.mkdir()
        print(f"planted: {name}", file=sys.stderr, flush=True)
        run(place, name)
