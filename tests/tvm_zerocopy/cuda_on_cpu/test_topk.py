"""The GPU's TopK kernel against numpy's stable sort."""

import emulator
import numpy as np
import pytest
import tvm
from emulator import managed
from tvm.target import Target

from tvm_zerocopy.passes.topk_kernels import gpu_topk_kernel
from tvm_zerocopy.targets import host_cpu

XAVIER = "nvidia/jetson-agx-xavier"
RANGES = {"ties": 4, "few ties": 4000}


def best_first(row, largest):
    """Places of a row's values, best first, equal ones in their order."""
    row = row.astype(np.float64)
    return np.argsort(-row if largest else row, kind="stable")


def topk_program(folder, rows, size, k, dtype="float32", largest=True, checks=None):
    """``run(data) -> values, indices``; all memory holds rubbish before."""
    kernel = gpu_topk_kernel(rows, size, k, dtype, "int64", largest).with_attr("global_symbol", "main")
    target = Target(Target(XAVIER), host=Target(host_cpu()))
    built = emulator.build(tvm.IRModule({"main": kernel}), target, folder, checks)

    def run(data):
        found, indices = managed(np.full((rows, k), 77, dtype)), managed(np.full((rows, k), -1, "int64"))
        workspace = [managed(np.full((rows, n), 0xEE, "uint64")) for n in (size, k)]
        built["main"](*(buffer.tensor() for buffer in (managed(data), found, indices, *workspace)))
        with found.for_host() as values, indices.for_host() as places:
            return values.copy(), places.copy()

    return run


@pytest.mark.parametrize("values", RANGES)
@pytest.mark.parametrize(
    "rows, size, k, dtype, largest",
    [
        (1, 1, 1, "float32", True),
        (2, 319, 319, "float32", False),
        (3, 320, 1, "int32", True),
        (1, 321, 320, "int32", False),
        (2, 1025, 300, "float32", True),
        (1, 8400, 700, "float32", True),
    ],
)
def test_same_as_a_stable_sort(fake_cuda, tmp_path, rows, size, k, dtype, largest, values):
    random = np.random.default_rng(size + k)
    data = random.integers(-RANGES[values], RANGES[values], (rows, size)).astype(dtype)
    if dtype == "float32":
        data *= random.choice(np.float32([1, -0.5, 1e-40]), data.shape)  # subnormal numbers and zeros of both signs
        data.flat[random.integers(0, data.size, 3)] = [np.inf, -np.inf, 0]
    found, indices = topk_program(tmp_path, rows, size, k, dtype, largest)(data)
    expected = np.stack([best_first(row, largest)[:k] for row in data])
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(found, np.take_along_axis(data, expected, 1))
