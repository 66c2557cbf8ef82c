"""Which head a graph ends in: the same models and answers as on Relax."""

import json

import pytest
from head_graphs import ANCHORS, CELLS, NOT_RECOGNIZED, RECOGNIZED, SIZE, Graph, transposed, yolov5, yolov8, yolox
from onnx import TensorProto
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy.errors import ModelError, SpecError
from tvm_zerocopy.passes.relay import FuseDetectionHead


def to_relay(graph):
    return relay.frontend.from_onnx(graph.to_onnx(), freeze_params=True)[0]


def recognized(mod, **nms):
    main = FuseDetectionHead(tz.Nms(max_det=10, **nms))(mod)["main"]
    results = main.ret_type.fields
    assert [ty.dtype for ty in results] == ["float32", "float32", "int32", "int32"]
    assert [[int(v) for v in ty.shape] for ty in results] == [[1, 10, 4], [1, 10], [1, 10], [1]]
    return json.loads(str(main.attrs["tz.nms"]))["head"]


def count(mod, name):
    """How often ``main`` calls an operator."""
    found = []
    relay.analysis.post_order_visit(
        mod["main"].body, lambda e: found.append(e) if isinstance(e, relay.Call) and e.op.name == name else None
    )
    return len(found)


@pytest.mark.parametrize("name", RECOGNIZED)
def test_recognizes(name):
    make, shape, head = RECOGNIZED[name]
    g, output = make()
    assert recognized(to_relay(g.returns(output, *shape))) == head


@pytest.mark.parametrize("name", NOT_RECOGNIZED)
def test_unrecognized_heads_are_an_error_that_names_shapes_and_choices(name):
    make, shape = NOT_RECOGNIZED[name]
    g = Graph()
    mod = to_relay(g.returns(make(g), *shape))
    with pytest.raises(ModelError) as error:
        FuseDetectionHead(tz.Nms())(mod)
    message = str(error.value)
    assert f"no output is recognized as a detection head (outputs ({', '.join(map(str, shape))})" in message
    assert "64x64 input" in message and "\n" not in message


def test_reads_a_yolox_before_its_transpose():
    g, output = yolox()
    mod = to_relay(g.returns(output, 1, CELLS, 85))
    assert count(FuseDetectionHead(tz.Nms())(mod), "transpose") == count(mod, "transpose") - 1


def test_takes_the_decoded_output_of_several():
    g, output = yolov5()
    maps = g.op("Sigmoid", g.convolution(255, 64))
    g.returns(output, 1, ANCHORS, 85)
    g.returns(g.op("Reshape", maps, g.constant([5], dtype=TensorProto.INT64, values=[1, 3, 8, 8, 85])), 1, 3, 8, 8, 85)
    mod = to_relay(g)
    assert recognized(mod) == "yolov5"
    assert count(mod, "nn.conv2d") == 2 and count(FuseDetectionHead(tz.Nms())(mod), "nn.conv2d") == 1


def test_two_heads_are_ambiguous():
    g, first = yolov8()
    g.returns(first, 1, 84, CELLS)
    g.returns(yolov8(g=g)[1], 1, 84, CELLS)
    with pytest.raises(ModelError, match="more than one output looks like a detection head"):
        FuseDetectionHead(tz.Nms())(to_relay(g))


def test_segmentation_models_are_refused():
    g, boxes = yolov8()
    g.returns(g.op("Concat", boxes, g.convolution(32, CELLS), axis=1), 1, 116, CELLS)
    g.returns(g.op("Conv", "images", g.constant([32, 3, 1, 1]), strides=[4, 4]), 1, 32, SIZE // 4, SIZE // 4)
    with pytest.raises(ModelError, match="segmentation model"):
        FuseDetectionHead(tz.Nms())(to_relay(g))


def test_a_named_head_must_fit():
    g = Graph()
    mod = to_relay(g.returns(g.op("Relu", transposed(g, g.convolution(85, 100))), 1, 100, 85))
    assert recognized(mod, head="yolov5") == "yolov5"
    with pytest.raises(SpecError, match="nms head 'yolox' does not fit the model: no output has that layout"):
        FuseDetectionHead(tz.Nms(head="yolox"))(mod)
