"""The benchmark for a GPU, rehearsed without one: kernels run on the CPU, CUDA's runtime is a stand-in, PyTorch is on
the CPU. Every line runs but for captures and ``torch.compile``; no time means anything."""

import json
from functools import partial
from types import SimpleNamespace
from unittest.mock import Mock

import gpu
import numpy as np
import pytest
import tvm
from on_gpu import checks, measure, timing
from on_gpu.work import Work
from tvm_ffi import structural_map

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.detections import Detections
from tvm_zerocopy.errors import UnsupportedError, ZeroCopyError
from tvm_zerocopy.reference import nms
from tvm_zerocopy.schedules import cuda as schedules
from tvm_zerocopy.schedules.cpu.base import schedule_of

FRAME = tz.Frame("nv12", height=54, width=96)


@pytest.fixture(autouse=True)
def small_networks(monkeypatch):
    """Detectors half as deep and as wide as the smallest: compiled in half the time."""
    build = models.build

    def smaller(name, **options):
        return build(name, **options) if name == "resnet18" else build(name, depth=0.1, width=0.125, **options)

    monkeypatch.setattr(models, "build", smaller)


def work(precision="float32"):
    return Work("yolov5n", 32, FRAME, precision, "sm_72")


def reference_nms(boxes, scores, classes, iou):
    """In the place of torchvision's."""
    order = scores.argsort(descending=True, stable=True)
    return order[nms.suppress(boxes[order].numpy(), classes[order].numpy(), iou, len(order))]


@pytest.fixture
def rehearse(emulated_gpu, monkeypatch, tmp_path, capsys):
    """``rehearse(model, precision)`` runs the whole benchmark: its one row, standard output and standard error."""
    torch_pipelines = pytest.importorskip("on_gpu.torch_pipelines", reason="compares with PyTorch; pip install torch")
    monkeypatch.setattr(gpu, "describe_device", lambda: {"name": "none", "arch": "sm_72", "date": "2026-01-01"})
    monkeypatch.setattr(torch_pipelines.Pipelines, "_compiled", lambda self, function: function)
    monkeypatch.setattr(torch_pipelines, "Pipelines", partial(torch_pipelines.Pipelines, device="cpu"))
    monkeypatch.setattr(torch_pipelines, "batched_nms", reference_nms)
    monkeypatch.setattr(checks, "check_heads", partial(checks.check_heads, least=True))
    monkeypatch.setattr(checks, "check_sorting", partial(checks.check_sorting, least=True))
    monkeypatch.setattr(checks, "write_sm_72", Mock(side_effect=UnsupportedError("CUDA 13.0 cannot compile for sm_72")))
    monkeypatch.setattr(timing, "WARM_UP", 1)

    def run(model, precision):
        arguments = [model, "--precision", precision, "--frame", "96x54", "--size", "32", "--iterations", "2"]
        assert gpu.main([*arguments, "--seed", "0", "--json", str(tmp_path / "gpu.json")]) == 0
        (row,) = json.loads((tmp_path / "gpu.json").read_text())["rows"]
        return (row, *capsys.readouterr())

    return run


def test_the_whole_run(rehearse):
    row, out, err = rehearse("yolov5n", "float16")
    assert row["raw_error"] <= checks.RAW_BOUNDS["float16"] and row["boxes_found"] >= checks.FOUND["float16"]
    assert "left out" not in err
    assert "not run as PTX for compute_72: CUDA 13.0 cannot compile for sm_72; or make it elsewhere" in err
    timed = set(row["milliseconds"])
    assert {"ours, preprocess", "copy of the same bytes", "ours, network", "ours, frame, managed"} <= timed
    assert sum(name.startswith("PyTorch, network") for name in timed) == 4
    assert sum(name.startswith("PyTorch, frame, device") for name in timed) == 5
    assert sum(name.startswith("PyTorch, frame, pinned") for name in timed) == 5
    assert row["results"]["frame, device"]["ratio"] > 0 and "ratio" not in row["results"]["frame, managed"]
    assert "yolov5n float16: network" in out and "TopK right: 60 rows" in out


def test_a_classifier_s_run(rehearse, monkeypatch):
    for check in ("check_preprocess", "check_heads"):  # as in any other model's run
        monkeypatch.setattr(checks, check, lambda *given: {"nothing": 0})
    monkeypatch.setattr(checks, "check_sorting", lambda *given: 0)
    row, out, err = rehearse("resnet18", "float32")
    assert row["raw_error"] <= checks.RAW_BOUNDS["float32"] and "boxes_found" not in row
    assert "left out" not in err and row["conf"] is None
    timed = set(row["milliseconds"])
    assert sum(name.startswith("PyTorch, network") for name in timed) == 4
    assert sum(name.startswith("PyTorch, frame, device") for name in timed) == 3
    assert sum(name.startswith("PyTorch, frame, pinned") for name in timed) == 3
    assert row["results"]["frame, pinned"]["ratio"] > 0 and "resnet18 float32: network" in out


@pytest.mark.cuda12
def test_artifacts_for_a_machine_whose_cuda_does_not_know_sm_72(tmp_path):
    arguments = ["yolov5n", "--precision", "float32", "--frame", "96x54", "--size", "32"]
    assert gpu.main([*arguments, "--write-sm72", str(tmp_path / "sm72")]) == 0
    artifact = checks.artifact_path(tmp_path / "sm72", work())
    assert b".target sm_72" in artifact.read_bytes()


class OneBlockLess:
    """What the rules give, without the last of each kernel's blocks of threads."""

    def apply(self, func, target, tuning=False):
        sch = next(filter(None, (rule.apply(func, target, tuning) for rule in schedules.rules())))

        def shorter(loop):
            binding, extent = loop.thread_binding, int(loop.extent)
            if binding is None or binding.thread_tag != "blockIdx.x" or extent < 2:
                return loop
            return tvm.tirx.For(loop.loop_var, loop.min, extent - 1, loop.kind, loop.body, binding)

        return schedule_of(structural_map(sch.mod["main"], (tvm.tirx.For, shorter)))


def test_a_wrong_kernel_is_named(emulated_gpu, monkeypatch):
    class WronglyScheduled(checks.Unscheduled):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            self.rules = [OneBlockLess()]

    monkeypatch.setattr(checks, "Unscheduled", WronglyScheduled)
    with pytest.raises(ZeroCopyError, match="kernel .* errs by"):
        checks.check_kernels(work(), np.random.default_rng(0))


def test_wrong_preprocessing_and_boxes_are_found(emulated_gpu, monkeypatch):
    random, reference = np.random.default_rng(0), checks.image.preprocess
    with monkeypatch.context() as patch:
        patch.setattr(checks.image, "preprocess", lambda *given: reference(*given) + np.float32(1 / 255))
        with pytest.raises(ZeroCopyError, match=r"preprocessing of benchmark frames errs by 1\.000 levels"):
            checks.check_preprocess(work(), random)
    detect = nms.detect
    monkeypatch.setattr(checks.nms, "detect", lambda *given: tuple(part[:-1] for part in detect(*given)))
    with pytest.raises(ZeroCopyError, match="the yolov5 head's kernels differ from the numpy NMS"):
        checks.check_heads("sm_72", random, least=True)


def test_the_gpu_s_own_functions_run_on_the_cpu():
    from tvm import te

    from tvm_zerocopy.passes.cuda_math import silu

    x = te.placeholder((64,), name="x")
    func = te.create_prim_func([x, te.compute((64,), lambda i: silu(x[i]))])
    built = tvm.compile(tvm.IRModule({"main": checks.without_intrinsics(func)}), target="llvm")
    values = np.linspace(-20, 20, 64, dtype="float32")
    found = tvm.runtime.tensor(np.zeros(64, "float32"))
    built["main"](tvm.runtime.tensor(values), found)
    np.testing.assert_allclose(found.numpy(), values / (1 + np.exp(-values)), rtol=1e-5, atol=1e-6)


def test_other_work_of_pytorch_is_left_out():
    torch = pytest.importorskip("torch", reason="compares with PyTorch; pip install torch")
    from on_gpu.torch_pipelines import Detected

    boxes, scores = np.float32([[0, 0, 10, 10], [20, 20, 40, 40]]), np.float32([0.9, 0.8])
    found = Detections(boxes, scores, np.int32([1, 2]))
    detector, classifier = SimpleNamespace(detects=True, nms=tz.Nms(conf=0.1)), SimpleNamespace(detects=False)

    def difference(shift=0.0, settled=None):
        padded = [np.concatenate([part, part[:1] * 0]) for part in (boxes + shift, scores, found.classes)]
        return measure.difference(detector, found, Detected(*map(torch.tensor, padded), settled))

    assert difference() is None and difference(settled=torch.tensor(True)) is None
    assert "too small" in difference(settled=torch.tensor(False))
    assert difference(shift=3.0).startswith("boxes differ: 0/2")
    logits = (np.float32([[1, -2]]),)
    assert measure.difference(classifier, logits, torch.tensor([[1.01, -2.0]])) is None
    assert measure.difference(classifier, logits, torch.tensor([[1.5, -2.0]])) == "logits differ by 25.0%"


def test_results_are_of_pytorch_s_fastest_way_and_say_which_goal_was_missed():
    times = {
        "ours, preprocess": 0.004, "copy of the same bytes": 0.003, "ours, network": 1.1,
        "ours, frame, device": 1.2, "ours, frame, pinned": 1.3, "ours, frame, managed": 1.2,
        "PyTorch, network, launched": 4.0, "PyTorch, network, graph": 1.0,
        "PyTorch, frame, device, launched": 5.0, "PyTorch, frame, device, graph, NMS inside": 2.0,
    }  # fmt: skip
    row = {"results": gpu.results(times), "milliseconds": times, "moved_bytes": 6_000_000}
    assert list(gpu.table(row)) == [
        "preprocess 4.0 us, 1500 GB/s, 75% of a copy's (goal: >= 70%)",
        "network 1.100 ms, PyTorch 1.000 ms (PyTorch, network, graph): 1.10x (MISSED: <= 1.0x)",
        "frame, device 1.200 ms, PyTorch 2.000 ms (PyTorch, frame, device, graph, NMS inside): 0.60x (goal: <= 0.7x)",
        "frame, pinned 1.300 ms",
        "frame, managed 1.200 ms",
    ]


def test_moved_bytes_are_of_the_rows_that_the_image_is_made_of():
    full = Work("yolov5n", 640, tz.Frame("nv12", height=1080, width=1920), "float32", "sm_72")
    assert measure.moved_bytes(full) == 2 * 360 * 1920 + 3 * 640 * 640 * 4  # every third row, all of other chroma rows
    same = Work("yolov5n", 640, tz.Frame("nv12", height=640, width=640), "float32", "sm_72")
    assert measure.moved_bytes(same) == 640 * 640 * 3 // 2 + 3 * 640 * 640 * 4


def test_a_pass_over_all_memory_is_more_than_the_cache_holds(emulated_gpu):
    cache = emulated_gpu._call("cudaDeviceGetAttribute", emulated_gpu._api.cudaDeviceAttr.cudaDevAttrL2CacheSize, 0)
    nbytes = cache // 7
    assert timing.passes_beyond_the_cache(nbytes) * nbytes >= 2 * cache
