"""PyTorch's side of the benchmark for a GPU, on the CPU: the same networks, image and boxes as this project's."""

import numpy as np
import pytest
from on_gpu.measure import LEVELS
from on_gpu.work import MODELS, Work, random_frame

import tvm_zerocopy as tz
from tvm_zerocopy.reference import image, nms

torch = pytest.importorskip("torch", reason="compares with PyTorch; pip install torch")
torch_pipelines = pytest.importorskip("on_gpu.torch_pipelines")
network = torch_pipelines.network


def pipelines(name, frame, size=64, precision="float32"):
    return torch_pipelines.Pipelines(Work(name, size, frame, precision, "sm_72"), "default", device="cpu")


@pytest.mark.parametrize("name", ["yolov5n", "yolov8n", "resnet18"])
def test_networks_are_onnxruntime_s(name):
    work = Work(name, 64, tz.Frame("nv12", height=64, width=64), "float32", "sm_72")
    frame = random_frame(work.frame, np.random.default_rng(0))
    blob = image.preprocess(frame, work.frame, work.preprocess, work.input_size)
    (expected,) = work.expected(frame)
    picture = torch.from_numpy(blob).contiguous(memory_format=torch.channels_last)
    found = network(work.model, torch.float32)(picture).numpy()
    largest = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * largest)
    half = network(work.model, torch.float16)(picture.half()).float().numpy()
    assert np.abs(half - expected).max() <= 5e-3 * largest
    if name != "resnet18":
        assert network(work.model, torch.float16)(picture.half()).dtype == torch.float32  # boxes are decoded in float32


def test_another_operator_is_named():
    from tvm_zerocopy import models
    from tvm_zerocopy.errors import UnsupportedError

    assert not set(MODELS) & {"yolo11n"}
    with pytest.raises(UnsupportedError, match="MatMul"):
        network(models.build("yolo11n", size=64), torch.float32)


@pytest.mark.parametrize("size", [(1080, 1920), (180, 320), (94, 130), (50, 30)])
@pytest.mark.parametrize("name", ["yolov5n", "resnet18"])
def test_the_image_is_this_project_s_within_rounding(name, size):
    both = pipelines(name, tz.Frame("nv12", height=size[0], width=size[1]))
    frame = random_frame(both.work.frame, np.random.default_rng(1))
    spec = both.work.preprocess
    expected = image.preprocess(frame, both.work.frame, spec, both.work.input_size)
    found = both.preprocess(torch.from_numpy(frame))
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert np.abs(found.numpy() - expected).max() * min(spec.std) / spec.scale <= LEVELS


@pytest.mark.parametrize("count, classes, settled", [(1, 1, True), (300, 1, True), (1024, 5, True), (2000, 5, False)])
def test_nms_of_fixed_sizes_is_nms(count, classes, settled):
    both = pipelines("yolov5n", tz.Frame("nv12", height=64, width=64))
    random = np.random.default_rng(count)
    corners = random.uniform(0, 50, (count, 2))
    boxes = np.concatenate([corners, corners + random.uniform(2, 14, (count, 2))], 1).astype("float32")
    scores = random.permutation(np.linspace(0.3, 0.9, count, dtype="float32"))
    labels = random.integers(0, classes, count)
    found = both.suppress_in_place(*map(torch.from_numpy, (boxes, scores, labels)))
    assert bool(found.settled) == settled
    if settled:
        order = np.argsort(-scores, kind="stable")
        keep = order[nms.suppress(boxes[order], labels[order], both.nms.iou, both.nms.max_det)]
        stay = found.scores > 0
        np.testing.assert_array_equal(found.scores[stay].numpy(), scores[keep])
        np.testing.assert_array_equal(found.classes[stay].numpy(), labels[keep])
        np.testing.assert_allclose(found.boxes[stay].numpy(), boxes[keep], atol=1e-4)


def test_too_few_rounds_are_said():
    both = pipelines("yolov5n", tz.Frame("nv12", height=64, width=64))
    left = torch.arange(40.0) * 3  # each box overlaps its neighbours: the last one's fate hangs on all others
    boxes = torch.stack([left, left * 0, left + 10, left * 0 + 10], 1)
    assert not both.suppress_in_place(boxes, torch.linspace(0.9, 0.5, 40), torch.zeros(40, dtype=int)).settled
