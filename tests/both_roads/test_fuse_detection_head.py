"""Compiled heads against the numpy reference, box for box, on raw outputs that nobody chose."""

import numpy as np
import pytest
from head_cases import CONFIGS, FRAMES, INPUT, SCENES, check_equals_reference, check_is_in_frame_pixels, raw_output
from hypothesis import example, given, settings
from hypothesis import strategies as st
from road import FuseDetectionHead, frame_argument, frame_parameter, module, program, with_attributes

import tvm_zerocopy as tz
from tvm_zerocopy.errors import SpecError


def compile_head(config):
    """``main(frame, image, raw)`` that returns ``raw``, through the pass, as ``run(raw, picture)``."""
    frame = config.frame or tz.Frame("bgr8", 8, 8)
    image = ("image", (config.batch, 3, *INPUT), "float32")

    def body(ops, _frame, _image, raw):
        return ops.transpose(ops.transpose(raw, [0, 2, 1]), [0, 2, 1]) if config.columns else raw

    mod = module([frame_parameter(frame), image, ("raw", config.raw_shape, "float32")], body)
    if config.frame is not None:
        mod = with_attributes(mod, frame=frame.to_json(), preprocess=config.preprocess.to_json())
    mod = FuseDetectionHead(config.nms)(mod)
    assert tz.Nms.from_json(str(mod["main"].attrs["tz.nms"])) == config.nms
    run, nothing = program(mod), np.zeros(image[1], "float32")

    def run_on(raw, picture=None):
        picture = np.zeros([8, 8, 3], "uint8") if picture is None else picture
        return run(frame_argument(frame, picture), nothing, raw)

    return run_on


@pytest.fixture(scope="module")
def compiled():
    programs = {}

    def get(config):
        if config not in programs:
            programs[config] = compile_head(config)
        return programs[config]

    return get


@pytest.mark.parametrize("name", CONFIGS)
@settings(max_examples=40, deadline=None)
@given(**SCENES)
@example(seed=0, overlap="scattered", scores="all high", odd=False)
@example(seed=0, overlap="same", scores="all high", odd=False)
@example(seed=0, overlap="scattered", scores="none", odd=False)
def test_equals_reference(compiled, name, seed, overlap, scores, odd):
    config = CONFIGS[name]
    raw = raw_output(config, seed, overlap, scores, odd)
    check_equals_reference(config, raw, compiled(config)(raw))


@pytest.mark.parametrize("name", FRAMES)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 400), width=st.integers(1, 400))
@example(seed=1, height=1, width=400)
@example(seed=1, height=64, width=96)
def test_boxes_are_in_frame_pixels(compiled, name, seed, height, width):
    config = FRAMES[name]
    frame = config.frame
    if not frame.dynamic:
        height, width = frame.height, frame.width
    elif frame.format == "nv12":
        height, width = 2 * height, 2 * width
    raw = raw_output(config, seed, "scattered", "fine", odd=False)
    outputs = compiled(config)(raw, np.zeros(frame.shapes(height, width)[0], "uint8"))
    check_is_in_frame_pixels(config, raw, outputs, height, width)


def test_refuses_what_is_no_nms():
    with pytest.raises(SpecError, match="takes an Nms, not NoneType; leave the pass out for raw outputs"):
        FuseDetectionHead(None)
