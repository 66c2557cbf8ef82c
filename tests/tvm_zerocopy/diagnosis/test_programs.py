"""The programs that the doctor compiles are right, and wrong results are seen."""

from types import SimpleNamespace

import numpy as np
import pytest
import tvm

from tvm_zerocopy.diagnosis import compat, matmul, peak, programs


def test_vector_add_and_convolution_succeed_here():
    added = programs.vector_add("cpu")
    assert added.status == "ok" and added.figures["chip"] in added.detail
    convolved = programs.convolution()
    assert convolved.status == "ok" and convolved.figures == {"shape": [1, 8, 8, 8], "through": ["Relax"]}


def test_the_reference_convolution_is_torchs():
    torch = pytest.importorskip("torch")
    x, w = np.random.rand(1, 3, 15, 16).astype("f"), np.random.rand(8, 3, 3, 3).astype("f")
    theirs = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), stride=2, padding=1)
    np.testing.assert_allclose(programs._conv2d(x, w), theirs.numpy(), rtol=1e-5)


@pytest.mark.parametrize(
    "result, message",
    [
        (lambda x, w: np.zeros((1, 8, 7, 8), "f"), "has shape (1, 8, 7, 8)"),
        (lambda x, w: programs._conv2d(x, w) + 0.01, "is off by"),
        (lambda x, w: np.full((1, 8, 8, 8), np.nan), "is off by"),
    ],
)
def test_a_wrong_convolution_fails(monkeypatch, result, message):
    monkeypatch.setattr(programs, "_through_relax", result)
    found = programs.convolution()
    assert found.status == "fail" and message in found.detail and found.mend


def test_wrong_sums_fail(monkeypatch):
    class Wrong:
        def __getitem__(self, name):
            return lambda a, b, c: None

    monkeypatch.setattr(compat, "build", lambda func, target: Wrong())
    assert programs.vector_add("cpu").status == "fail"


@pytest.mark.parametrize("lanes, registers", [(4, 32), (8, 16), (16, 32)])
def test_the_matrix_product_is_right_at_every_vector_width(lanes, registers):
    run = compat.build(matmul.cpu_program(lanes, registers), compat.cpu_target())
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal((matmul.SIDE, matmul.SIDE), np.float32) for _ in range(2))
    c = compat.tensor(np.full_like(a, np.nan), tvm.cpu())
    run["main"](compat.tensor(a, tvm.cpu()), compat.tensor(b, tvm.cpu()), c)
    np.testing.assert_allclose(c.numpy(), a @ b, rtol=1e-3, atol=1e-3)


def test_the_stock_gpu_schedule_applies_without_a_gpu():
    target = tvm.target.Target({"kind": "cuda", "arch": "sm_72", "max_threads_per_block": 1024}, host="llvm")
    assert "blockIdx.x" in matmul.gpu_program(target).script()


@pytest.mark.parametrize("speed, limit, status", [(90.0, 100.0, "ok"), (10.0, 100.0, "warn")])
def test_the_share_of_peak_decides_between_ok_and_slow(monkeypatch, speed, limit, status):
    monkeypatch.setattr(matmul, "_run", lambda *_: (speed, 1e-4))
    monkeypatch.setattr(peak, "measure", lambda *_: limit)
    found = matmul.matmul("cpu")
    assert found.status == status and found.figures["share"] == speed / limit
    monkeypatch.setattr(matmul, "_run", lambda *_: (speed, 1.0))
    assert matmul.matmul("cpu").status == "fail"


def test_peak_counts_only_arithmetic_that_is_done():
    """The kernel's sums follow v -> v * v + s for as many steps as are counted."""
    steps, lanes = peak._STEPS, 8
    run = compat.build(peak._program(1, lanes), compat.cpu_target())
    s = np.zeros((peak._CHAINS, lanes), np.float32)
    s[:, 1] = -1.0  # 1, 0, -1, 0, -1 ...
    s[:, 2] = -0.2  # towards the fixed point of v * v - 0.2
    out = compat.tensor(np.zeros((1, peak._CHAINS, lanes), np.float32), tvm.cpu())
    run["main"](compat.tensor(s, tvm.cpu()), out)
    found = out.numpy()[0, 0]
    assert found[0] == 1 and found[1] == (0 if steps % 2 else -1)
    assert found[2] == pytest.approx((1 - np.sqrt(1 + 4 * 0.2)) / 2, abs=1e-5)


@pytest.mark.parametrize(
    "version, processors, clock, gflops",
    [("7.2", 8, 1_377_000, 1410), ("9.0", 132, 1_980_000, 66_908), ("8.0", 108, 1_410_000, 19_492)],
)
def test_declared_peak_is_what_data_sheets_say(version, processors, clock, gflops):
    """Jetson AGX Xavier 1.41 TFLOP/s, H100 SXM 66.9, A100 19.5."""
    device = SimpleNamespace(compute_version=version, multi_processor_count=processors, max_clock_rate=clock)
    assert peak.declared(device) == pytest.approx(gflops, rel=1e-3)


def test_declared_peak_is_none_where_the_driver_does_not_tell():
    for version, clock in (("7.2", 0), ("7.2", None), ("99.0", 1_000_000)):
        device = SimpleNamespace(compute_version=version, multi_processor_count=8, max_clock_rate=clock)
        assert peak.declared(device) is None


def test_cuda_programs_are_skipped_where_there_is_no_device(monkeypatch):
    monkeypatch.setattr(compat, "place", lambda kind: (None, None))
    assert programs.vector_add("cuda").status == matmul.matmul("cuda").status == "skip"


@pytest.mark.parametrize("limit", [2000.0, None])
def test_a_gpu_reports_its_share_of_the_declared_peak_if_there_is_one(monkeypatch, limit):
    target = tvm.target.Target({"kind": "cuda", "arch": "sm_72", "max_threads_per_block": 1024}, host="llvm")
    monkeypatch.setattr(compat, "place", lambda kind: (target, None))
    monkeypatch.setattr(matmul, "_run", lambda *_: (500.0, 1e-4))
    monkeypatch.setattr(peak, "declared", lambda device: limit)
    found = matmul.matmul("cuda")
    assert found.status == "ok" and found.figures["share"] == (0.25 if limit else None)


@pytest.mark.gpu
def test_cuda_programs_are_right_on_a_gpu():
    if not tvm.cuda(0).exist:
        pytest.skip("no CUDA device")
    assert programs.vector_add("cuda").status == matmul.matmul("cuda").status == "ok"
