"""The specs: what they accept, what they say otherwise, and their JSON."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tvm_zerocopy.errors import SpecError
from tvm_zerocopy.specs import COLOR_FORMATS, YUV_420, YUV_422, Frame, Nms, Preprocess


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Frame("rgb"), "frame format is 'rgb'; it must be one of bgr8"),
        (lambda: Frame(height=10), "both be given or both be None"),
        (lambda: Frame(height=0, width=4), "frame height is 0; it must be an integer of at least 1"),
        (lambda: Frame(height=True, width=4), "at least 1"),
        (lambda: Frame("nv12", height=3, width=4), "4:2:0 needs even width and height"),
        (lambda: Frame("yuyv", height=3, width=5), "4:2:2 needs an even width"),
        (lambda: Frame(height=4, width=4, pitch=11), "frame pitch 11 is less than the 12 bytes"),
        (lambda: Frame(planes=True), "planes=True needs a planar 4:2:0 format"),
        (lambda: Frame(batch=0), "frame batch is 0"),
        (lambda: Frame("nv12", matrix="bt2020"), "frame matrix is 'bt2020'"),
        (lambda: Frame("nv12", range="video"), "frame range is 'video'"),
        (lambda: Preprocess(resize="crop"), "preprocess resize is 'crop'"),
        (lambda: Preprocess(pad_value=256), "preprocess pad_value is 256"),
        (lambda: Preprocess(mean=(0, 0)), "preprocess mean is .*three finite numbers"),
        (lambda: Preprocess(std=(1, 0, 1)), "must not have a zero"),
        (lambda: Preprocess(scale=0), "preprocess scale is 0"),
        (lambda: Preprocess(scale=float("nan")), "preprocess scale is nan"),
        (lambda: Nms(conf=1.5), "nms conf is 1.5; it must be from 0 to 1"),
        (lambda: Nms(max_det=0), "nms max_det is 0"),
        (lambda: Nms(head="ssd"), "nms head is 'ssd'"),
    ],
)
def test_contradictions_are_named(make, message):
    with pytest.raises(SpecError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@given(
    st.sampled_from(COLOR_FORMATS),
    st.integers(1, 2000),
    st.integers(1, 2000),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from(["bt601", "bt709"]),
)
def test_frames_survive_json_and_know_their_size(name, height, width, batch, planes, matrix):
    height += height % 2 if name in YUV_420 else 0
    width += width % 2 if name in (*YUV_420, *YUV_422) else 0
    frame = Frame(name, height, width, batch=batch, planes=planes and name in YUV_420, matrix=matrix)
    assert Frame.from_json(frame.to_json()) == frame
    shape = frame.shapes(height, width)[0]
    assert Frame(name, planes=frame.planes).size_of(shape) == (height, width)
    assert hash(frame) == hash(Frame.from_json(frame.to_json()))


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("bgr8", (10, 10), "has 3 axes, not 2"),
        ("bgr8", (10, 10, 4), r"has shape \(10, 10, 3\)"),
        ("nv12", (16, 10), "16 rows .* is impossible"),
        ("nv12", (15, 11), "even width and height"),
        ("yuyv", (10, 11, 2), "even width"),
        ("gray8", (0, 4), "at least 1"),
    ],
)
def test_shapes_that_are_no_frame(name, shape, message):
    with pytest.raises(SpecError, match=message):
        Frame(name).size_of(shape)


@pytest.mark.parametrize("spec", [Preprocess.yolox(mean=(1, 2, 3)), Preprocess.imagenet(), Nms(head="yolov8")])
def test_other_specs_survive_json(spec):
    assert type(spec).from_json(spec.to_json()) == spec


def test_specs_and_geometry_need_neither_tvm_nor_numpy():
    """Tools and Relay builds on old Pythons import them on their own."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['tvm', 'numpy', 'tvm_ffi']));"
        "import tvm_zerocopy.specs, tvm_zerocopy.geometry, tvm_zerocopy.color"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
