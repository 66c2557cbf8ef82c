"""Which head a graph ends in: recognized where it is beyond doubt, named by the user where not."""

import json

import pytest
from head_graphs import ANCHORS, CELLS, NOT_RECOGNIZED, RECOGNIZED, SIZE, Graph, transposed, yolov5, yolov8, yolox
from onnx import TensorProto
from road import FuseDetectionHead, from_onnx, operators, results

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.errors import ModelError, SpecError
from tvm_zerocopy.frontend import import_onnx


def imported(graph):
    return from_onnx(graph.to_onnx())


def recognized(mod, **nms):
    fused = FuseDetectionHead(tz.Nms(max_det=10, **nms))(mod)
    kinds = ["float32", "float32", "int32", "int32"]
    assert results(fused) == list(zip([(1, 10, 4), (1, 10), (1, 10), (1,)], kinds))
    return json.loads(str(fused["main"].attrs["tz.nms"]))["head"]


@pytest.mark.parametrize("name", RECOGNIZED)
def test_recognizes(name):
    make, shape, head = RECOGNIZED[name]
    g, output = make()
    assert recognized(imported(g.returns(output, *shape))) == head


def test_recognizes_a_transposed_yolov8_without_transposing_it():
    g, output = yolov8()
    mod = imported(g.returns(transposed(g, output), 1, CELLS, 84))
    assert recognized(mod) == "yolov8"
    assert "transpose" not in operators(FuseDetectionHead(tz.Nms())(mod))


def test_reads_a_yolox_before_its_transpose():
    g, output = yolox()
    mod = imported(g.returns(output, 1, CELLS, 85))
    before = operators(mod).count("transpose")
    assert operators(FuseDetectionHead(tz.Nms())(mod)).count("transpose") == before - 1


def test_takes_the_decoded_output_of_several():
    g, output = yolov5()
    maps = g.op("Sigmoid", g.convolution(255, 64))
    g.returns(output, 1, ANCHORS, 85)
    g.returns(g.op("Reshape", maps, g.constant([5], dtype=TensorProto.INT64, values=[1, 3, 8, 8, 85])), 1, 3, 8, 8, 85)
    mod = imported(g)
    assert recognized(mod) == "yolov5"
    assert operators(mod).count("nn.conv2d") == 2
    assert operators(FuseDetectionHead(tz.Nms())(mod)).count("nn.conv2d") == 1  # the rest is dead


@pytest.mark.parametrize("name", NOT_RECOGNIZED)
def test_unrecognized_heads_are_an_error_that_names_shapes_and_choices(name):
    make, shape = NOT_RECOGNIZED[name]
    g = Graph()
    mod = imported(g.returns(make(g), *shape))
    with pytest.raises(ModelError) as error:
        FuseDetectionHead(tz.Nms())(mod)
    message = str(error.value)
    assert f"no output is recognized as a detection head (outputs ({', '.join(map(str, shape))})" in message
    assert "64x64 input" in message and "\n" not in message
    assert all(head in message for head in ("yolov5", "yolov8", "yolox", "end2end", "postprocess=None"))


def test_two_heads_are_ambiguous():
    g, first = yolov8()
    g.returns(first, 1, 84, CELLS)
    g.returns(yolov8(g=g)[1], 1, 84, CELLS)
    with pytest.raises(ModelError, match="more than one output looks like a detection head"):
        FuseDetectionHead(tz.Nms())(imported(g))


def test_segmentation_models_are_refused():
    g, boxes = yolov8()
    g.returns(g.op("Concat", boxes, g.convolution(32, CELLS), axis=1), 1, 116, CELLS)
    g.returns(g.op("Conv", "images", g.constant([32, 3, 1, 1]), strides=[4, 4]), 1, 32, SIZE // 4, SIZE // 4)
    for nms in (tz.Nms(), tz.Nms(head="yolov8")):
        with pytest.raises(ModelError, match="segmentation model"):
            FuseDetectionHead(nms)(imported(g))


def test_the_user_names_the_head():
    g = Graph()
    output = g.op("Relu", transposed(g, g.convolution(85, 100)))
    mod = imported(g.returns(output, 1, 100, 85))
    with pytest.raises(ModelError):
        FuseDetectionHead(tz.Nms())(mod)
    assert recognized(mod, head="yolov5") == "yolov5"
    assert recognized(mod, head="yolov8") == "yolov8"  # 81 boxes along the last axis


@pytest.mark.parametrize("head", ["yolox", "end2end"])
def test_a_named_head_must_fit(head):
    g = Graph()
    mod = imported(g.returns(g.op("Relu", transposed(g, g.convolution(85, 100))), 1, 100, 85))
    expected = (
        f"nms head '{head}' does not fit the model: no output has that layout; expected {head} .*\\(1, 100, 85\\)"
    )
    with pytest.raises(SpecError, match=expected):
        FuseDetectionHead(tz.Nms(head=head))(mod)


def test_a_named_yolov8_may_be_transposed():
    g = Graph()
    mod = imported(g.returns(g.op("Relu", transposed(g, g.convolution(84, CELLS + 1))), 1, CELLS + 1, 84))
    assert "transpose" in operators(FuseDetectionHead(tz.Nms(head="yolov8"))(mod))


@pytest.mark.parametrize("name, head", [("yolov5n", "yolov5"), ("yolov8n", "yolov8"), ("yolox_nano", "yolox")])
@pytest.mark.parametrize("classes", [1, 80])
def test_recognizes_published_architectures(name, head, classes):
    model = models.build(name, size=(64, 96), classes=classes)
    assert recognized(import_onnx(model).module) == head
