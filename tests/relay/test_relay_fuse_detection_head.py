"""Compiled heads against the numpy reference, box for box, on raw outputs that nobody chose."""

import numpy as np
import pytest
import tvm
from head_cases import CONFIGS, FRAMES, INPUT, SCENES, check_equals_reference, check_is_in_frame_pixels, raw_output
from hypothesis import example, given, settings
from hypothesis import strategies as st
from relay_cases import build, executor, kernels, program
from tvm import relay

import tvm_zerocopy as tz
from tvm_zerocopy.errors import SpecError
from tvm_zerocopy.passes.relay import FuseDetectionHead, FusePreprocess

STATIC = {name: config for name, config in FRAMES.items() if not config.frame.dynamic}


def head_module(config):
    """``main(frame, image, raw)`` that returns ``raw``, through the pass."""
    frame = config.frame or tz.Frame("bgr8", 8, 8)
    params = [
        relay.var("frame", shape=frame.shapes(frame.height, frame.width)[0], dtype="uint8"),
        relay.var("image", shape=(config.batch, 3, *INPUT)),
        relay.var("raw", shape=config.raw_shape),
    ]
    raw = params[2]
    if config.columns:
        raw = relay.transpose(relay.transpose(raw, [0, 2, 1]), [0, 2, 1])
    main = relay.Function(params, raw)
    if config.frame is not None:
        main = main.with_attr("tz.frame", frame.to_json()).with_attr("tz.preprocess", config.preprocess.to_json())
    mod = FuseDetectionHead(config.nms)(tvm.IRModule.from_expr(main))
    assert tz.Nms.from_json(str(mod["main"].attrs["tz.nms"])) == config.nms
    return mod


@pytest.fixture(scope="module")
def compiled():
    programs = {}

    def get(config):
        if config not in programs:
            programs[config] = program(head_module(config))
        return programs[config]

    return get


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=25, deadline=None)
@given(**SCENES)
@example(seed=0, overlap="scattered", scores="all high", odd=False)
@example(seed=0, overlap="same", scores="all high", odd=False)
@example(seed=0, overlap="scattered", scores="none", odd=False)
def test_equals_reference(compiled, name, seed, overlap, scores, odd):
    config = CONFIGS[name]
    raw = raw_output(config, seed, overlap, scores, odd)
    check_equals_reference(config, raw, compiled(config)(raw=raw))


@pytest.mark.parametrize("name", STATIC)
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_boxes_are_in_frame_pixels(compiled, name, seed):
    config = STATIC[name]
    raw = raw_output(config, seed, "scattered", "fine", odd=False)
    check_is_in_frame_pixels(config, raw, compiled(config)(raw=raw), config.frame.height, config.frame.width)


@pytest.mark.parametrize("preprocess", [tz.Preprocess.yolox(), tz.Preprocess(scaleup=False), tz.Preprocess.imagenet()])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 400), width=st.integers(1, 400))
@example(seed=1, height=1, width=400)
def test_boxes_are_in_pixels_of_any_frame(preprocess, seed, height, width):
    config = CONFIGS["yolov8 eleven rows"]
    config = type(config)(config.nms, 2, 11, frame=tz.Frame("bgr8", height, width), preprocess=preprocess)
    raw = raw_output(config, seed, "scattered", "all high", odd=False)
    check_is_in_frame_pixels(config, raw, program(head_module(config))(raw=raw), height, width)


def test_frame_to_boxes_in_one_program():
    """Both passes, in a Sequential, around a model; two kernels at the end, one in front."""
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


def test_refuses_what_is_no_nms():
    with pytest.raises(SpecError, match="takes an Nms, not NoneType; leave the pass out for raw outputs"):
        FuseDetectionHead(None)
