"""precision="bfloat16": the detections of float32, on CPUs that can."""

import numpy as np
import pytest
from PIL import Image
from tvm.target import codegen

import tvm_zerocopy as tz
from tvm_zerocopy import embedded
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.targets import resolve_target


def test_a_cpu_without_a_unit_for_it_is_refused_before_anything_is_read():
    with pytest.raises(UnsupportedError, match="bfloat16 needs a CPU with AMX, AVX512_BF16 or Arm's bf16"):
        tz.compile("no such file.onnx", target="llvm -mcpu=haswell", precision="bfloat16")


@pytest.mark.parametrize(
    "target, features",
    [
        ("llvm -mcpu=sapphirerapids", {"amx-tile", "amx-bf16"}),
        ("llvm -mcpu=cooperlake", {"avx512bf16"}),
    ],
)
def test_detections_are_those_of_float32(target, features, tmp_path):
    if not features <= set(map(str, codegen.llvm_get_cpu_features(resolve_target("llvm")))):
        pytest.skip(f"this CPU has no {', '.join(sorted(features))}")
    nms = tz.Nms(conf=0.25)
    exact = tz.compile(embedded.model_path(), postprocess=nms)
    options = {"postprocess": nms, "target": target, "precision": "bfloat16"}
    tz.compile(embedded.model_path(), **options).export(tmp_path / "half.so")
    half = tz.load(tmp_path / "half.so")
    assert half.metadata["precision"] == "bfloat16"
    found = total = 0
    for path in embedded.sample_pictures():
        picture = np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB"))[..., ::-1])
        expected, got = exact(picture), half(picture)
        certain = expected.scores > 0.5
        total += certain.sum()
        for box, label in zip(expected.boxes[certain], expected.classes[certain]):
            found += bool(((overlap(box, got.boxes) > 0.9) & (got.classes == label)).any())
    assert total > 10
    assert found >= 0.98 * total


def overlap(box, boxes):
    low, high = np.maximum(box[:2], boxes[:, :2]), np.minimum(box[2:], boxes[:, 2:])
    both = np.prod(np.clip(high - low, 0, None), axis=1)
    return both / (np.prod(box[2:] - box[:2]) + np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) - both)
