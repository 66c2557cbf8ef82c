"""Frame to boxes in one Relay program: both passes, in a Sequential, around a model."""

import numpy as np
import tvm
from head_cases import INPUT
from relay_cases import build, executor, kernels
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy.passes.relay import FuseDetectionHead, FusePreprocess


def test_frame_to_boxes_in_one_program():
    """Two kernels at the end, one in front."""
    images = relay.var("images", shape=(1, 3, *INPUT))
    red = relay.strided_slice(relay.nn.global_avg_pool2d(images), [0, 0, 0, 0], [1, 1, 1, 1])
    raw = relay.multiply(relay.ones((1, 7, 126), "float32"), relay.reshape(red, (1, 1, 1)))
    mod = tvm.IRModule.from_expr(relay.Function([images], raw))
    frame = tz.Frame("nv12", 48, 80)
    passes = [FusePreprocess(frame, tz.Preprocess()), FuseDetectionHead(tz.Nms(head="yolov8"))]
    library = build(tvm.transform.Sequential(passes)(mod))
    called = kernels(library)
    assert "tz_preprocess" in called[0]
    assert ["filter" in name or "select" in name for name in called[-2:]] == [True, True]
    boxes, scores, classes, count = executor(library)[1](frame=np.full((72, 80), 128, np.uint8))
    assert count.tolist() == [1] and classes[0, 0] == 0 and 0.25 < scores[0, 0] < 1
    assert (boxes[0, 0] <= 80).all() and not boxes[0, 1:].any()
