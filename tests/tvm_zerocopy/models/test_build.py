"""Architectures against their published sizes, arithmetic and shapes, run by onnxruntime."""

import ast

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, shape_inference

from tvm_zerocopy import models
from tvm_zerocopy.errors import ModelError

# Parameters with BatchNorm folded, as Ultralytics prints them ("fused"), and GFLOPs at 640 (two a multiply-add).
# YOLOX and torchvision publish unfused counts: theirs less BatchNorm's two a channel, plus its bias.
PUBLISHED = {
    "yolov5n": (1_867_405, 4.5),
    "yolov5s": (7_225_885, 16.4),
    "yolov5m": (21_172_173, 48.9),
    "yolov5l": (46_533_693, 109.0),
    "yolov5x": (86_705_005, 205.5),
    "yolov8n": (3_151_904, 8.7),
    "yolov8s": (11_156_544, 28.6),
    "yolov8m": (25_886_080, 78.9),
    "yolo11n": (2_616_248, 6.5),
    "yolo11s": (9_443_760, 21.5),
    "yolo11m": (20_091_712, 68.0),
    "yolo11l": (25_340_992, 86.9),
    "yolox_s": (8_956_703, 26.8),
    "yolox_tiny": (5_047_191, 6.45),
    "resnet18": (11_684_712, 3.63),
}
SMALL = ("yolov5n", "yolov8n", "yolo11n", "yolox_nano", "resnet18")


def parameters_and_gflops(model):
    """Of all convolutions and matrix products."""
    inferred = shape_inference.infer_shapes(model).graph
    shapes = {
        v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in [*inferred.value_info, *inferred.output]
    }
    weights = {i.name: i.dims for i in model.graph.initializer}
    parameters = flops = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            parameters += sum(int(np.prod(weights[name])) for name in node.input[1:])
            pixels = int(np.prod(shapes[node.output[0]][2:]))
            flops += 2 * int(np.prod(weights[node.input[1]])) * pixels
    return parameters, flops / 1e9


def run(model, picture):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: picture})[0]


def noise(model, seed=0):
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    return np.random.default_rng(seed).random(shape, dtype=np.float32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_size_and_arithmetic_are_the_published_ones(name):
    parameters, gflops = PUBLISHED[name]
    built_parameters, built_gflops = parameters_and_gflops(models.build(name))
    assert built_parameters == parameters
    assert built_gflops == pytest.approx(gflops, rel=0.02)


@pytest.mark.parametrize("opset", [11, 13, 17])
@pytest.mark.parametrize("name", SMALL)
def test_random_weights_give_finite_unsaturated_outputs_in_any_opset(name, opset):
    model = models.build(name, opset=opset, seed=3)
    assert model.opset_import[0].version == opset
    output = run(model, noise(model))
    assert output.shape == tuple(d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim)
    assert np.isfinite(output).all()
    scores = output[:, 4:] if name in ("yolov8n", "yolo11n") else output if name == "resnet18" else output[..., 4:]
    assert scores.std() > 1e-3
    if name != "resnet18":
        assert ((scores > 1e-4) & (scores < 1 - 1e-4)).mean() > 0.95
    np.testing.assert_allclose(output, run(models.build(name, opset=13, seed=3), noise(model)), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("opset", [11, 13, 18])
def test_yolov10_gives_its_best_boxes_in_order(opset):
    model = models.build("yolov10n", size=(128, 160), classes=7, opset=opset, batch=2)
    boxes = run(model, noise(model))
    assert boxes.shape == (2, 300, 6)
    scores, labels = boxes[..., 4], boxes[..., 5]
    assert (np.diff(scores, axis=1) <= 0).all() and scores.std() > 1e-3 and ((scores > 0) & (scores < 1)).all()
    assert set(np.unique(labels)) == set(range(7))
    assert (boxes[..., 2:4] > boxes[..., :2]).all()


def test_output_shapes_and_names_are_the_exporters():
    def io(model):
        return [(v.name, tuple(d.dim_value for d in v.type.tensor_type.shape.dim)) for v in
                (model.graph.input[0], model.graph.output[0])]  # fmt: skip

    assert io(models.build("yolov5n")) == [("images", (1, 3, 640, 640)), ("output0", (1, 25200, 85))]
    assert io(models.build("yolov8n")) == [("images", (1, 3, 640, 640)), ("output0", (1, 84, 8400))]
    assert io(models.build("yolo11n"))[1] == ("output0", (1, 84, 8400))
    assert io(models.build("yolov10n"))[1] == ("output0", (1, 300, 6))
    assert io(models.build("yolox_tiny", size=640)) == [("images", (1, 3, 640, 640)), ("output", (1, 8400, 85))]
    assert io(models.build("yolov5n", size=(256, 448), classes=["a", "b"], batch=2))[1] == ("output0", (2, 7056, 7))


def test_metadata_has_names_and_stride_as_ultralytics_writes_them():
    props = {p.key: p.value for p in models.build("yolov5n", classes=["cat", "it's"]).metadata_props}
    assert ast.literal_eval(props["names"]) == {0: "cat", 1: "it's"}
    assert props["stride"] == "32"
    coco = {p.key: p.value for p in models.build("yolov8n").metadata_props}
    assert ast.literal_eval(coco["names"])[11] == "stop sign"


def test_seed_decides_the_weights():
    def first(seed):
        return numpy_helper.to_array(models.build("yolov5n", size=64, seed=seed).graph.initializer[0])

    assert np.array_equal(first(1), first(1))
    assert not np.array_equal(first(1), first(2))


def test_depth_and_width_make_other_members_of_a_family():
    small, _ = parameters_and_gflops(models.build("yolov5n", size=64, width=0.125))
    same, _ = parameters_and_gflops(models.build("yolov5s", size=64, depth=0.33, width=0.25))
    assert small < same == PUBLISHED["yolov5n"][0]


def test_all_names_build_and_pass_the_checker():
    for name in models.available():
        if not name.endswith(("_l", "_x", "v8l", "v8x")):
            onnx.checker.check_model(models.build(name, size=64), full_check=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "yolov9"}, "there is no model 'yolov9'; there are yolov5n"),
        ({"name": "yolov5n", "size": 100}, "multiples of 32"),
        ({"name": "yolov5n", "size": 0}, "multiples of 32"),
        ({"name": "yolov5n", "opset": 7}, "opset is 7"),
        ({"name": "yolov5n", "classes": []}, "at least one class"),
        ({"name": "yolov5n", "weights": {}}, "no entry 'model.0.conv.weight'"),
        ({"name": "resnet18", "width": 0.5}, "no depth or width"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ModelError, match=message) as caught:
        models.build(**arguments)
    assert "\n" not in str(caught.value)
