"""FusePreprocess's kernel: every option of the specs, rows where the caller has them, and one pass over the output."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preprocess_frames import INPUT, LAYOUTS, OPTIONS, random_frame
from road import REFUSED, image_program, memory_of_kernels

from tvm_zerocopy.reference import preprocess as reference
from tvm_zerocopy.specs import YUV_420, Frame, Preprocess

# --- every option ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preprocess", OPTIONS, ids=str)
@pytest.mark.parametrize("name, batch, size", [("bgr8", 1, INPUT), ("nv12", 3, (40, 56)), ("gray8", 2, (37, 31))])
@settings(max_examples=5, deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.integers(0, 5), st.integers(0, 2**32 - 1))
def test_options(preprocess, name, batch, size, height, width, padding, seed):
    frame = Frame(name, batch=batch)
    height, width = (2 * height, 2 * width) if name in YUV_420 else (height, width)
    arrays = random_frame(frame, height, width, seed, padding)
    found = image_program(frame, preprocess, size)(*arrays)
    np.testing.assert_allclose(found, reference(arrays, frame, preprocess, size), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("preprocess", OPTIONS, ids=str)
def test_options_of_a_fixed_size(preprocess):
    frame = Frame("nv12", height=30, width=42, batch=2)
    arrays = random_frame(frame, 30, 42)
    found = image_program(frame, preprocess, (40, 56))(*arrays)
    np.testing.assert_allclose(found, reference(arrays, frame, preprocess, (40, 56)), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("name, planes", LAYOUTS)
def test_fixed_sizes_and_batches(name, planes, padding):
    frame = Frame(name, height=90, width=122, batch=2, planes=planes)
    arrays = random_frame(frame, 90, 122, padding=padding)
    found = image_program(frame, Preprocess())(*arrays)
    np.testing.assert_array_equal(found, reference(arrays, frame, Preprocess(), INPUT))


@pytest.mark.parametrize("name", ["nv12", "i420", "yuyv"])
@pytest.mark.parametrize("matrix, kr, kb", [("bt601", 0.299, 0.114), ("bt709", 0.2126, 0.0722)])
@pytest.mark.parametrize("range_", ["limited", "full"])
def test_yuv_within_a_level_of_the_recommendation(name, matrix, kr, kb, range_):
    """ITU-R BT.601-7 / BT.709-6 in float64, on samples of the legal range."""
    height, width = INPUT
    frame = Frame(name, matrix=matrix, range=range_)
    arrays = random_frame(frame, height, width)
    if range_ == "limited":
        arrays = [np.clip(a, 16, 240) for a in arrays]
    found = image_program(frame, Preprocess(scale=1.0))(*arrays)[0]
    y, u, v = _samples(name, arrays[0].astype(np.float64), height, width)
    offset, luma, chroma = (16, 219, 224) if range_ == "limited" else (0, 255, 255)
    y, u, v = (y - offset) * 255 / luma, (u - 128) * 255 / chroma, (v - 128) * 255 / chroma
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    expected = np.clip(np.stack([red, green, blue]), 0, 255)
    # half a level of rounding; OpenCV's three-decimal coefficients (bt601 limited) add less than a quarter
    assert np.abs(found - expected).max() <= 0.75


def _samples(name, array, height, width):
    if name == "yuyv":
        return array[..., 0], array[:, 0::2, 1].repeat(2, 1), array[:, 1::2, 1].repeat(2, 1)
    chroma = array[height:].reshape(-1)
    planes = (chroma[0::2], chroma[1::2]) if name == "nv12" else np.split(chroma, 2)
    u, v = (p.reshape(height // 2, width // 2).repeat(2, 0).repeat(2, 1) for p in planes)
    return array[:height], u, v


# --- rows where the caller has them ---------------------------------------------------------------------------------


def test_fixed_pitch_is_required_of_the_array():
    frame = Frame("bgr8", height=50, width=70, pitch=256)
    memory = np.random.default_rng(0).integers(0, 256, (50, 256), dtype=np.uint8)
    array = np.lib.stride_tricks.as_strided(memory, (50, 70, 3), (256, 3, 1))
    found = image_program(frame, Preprocess())(array)
    np.testing.assert_array_equal(found, reference(array, frame, Preprocess(), INPUT))
    with pytest.raises(REFUSED, match=r"strides\[0\][\s\S]* 256"):
        image_program(frame, Preprocess())(np.ascontiguousarray(array))


def test_samples_within_a_row_must_be_dense():
    frame = Frame("bgr8")
    array = np.zeros((50, 70, 4), np.uint8)[:, :, :3]
    with pytest.raises(REFUSED, match="strides"):
        image_program(frame, Preprocess())(array)


@pytest.mark.parametrize(
    "name, shape, message",
    [
        ("gray8", (0, 10), "at least one pixel|strides|no elements"),  # NumPy gives empty arrays odd strides
        ("yuyv", (10, 11, 2), "even width"),
        ("nv12", (15, 11), "even width and height"),
        ("nv12", (16, 10), "height \\* 3 / 2 rows"),
    ],
)
def test_impossible_sizes_are_refused(name, shape, message):
    """By the kernel itself, for those who run it without the engine."""
    with pytest.raises(REFUSED, match=message):
        image_program(Frame(name), Preprocess())(np.zeros(shape, np.uint8))


def test_odd_planes_are_refused():
    planes = [np.zeros(shape, np.uint8) for shape in ((11, 10), (5, 5, 2))]
    with pytest.raises(REFUSED, match="even width and height"):
        image_program(Frame("nv12", planes=True), Preprocess())(*planes)


def test_chroma_of_another_size_is_refused():
    planes = [np.zeros(shape, np.uint8) for shape in ((12, 10), (5, 5, 2))]
    with pytest.raises(REFUSED, match="chroma.shape"):
        image_program(Frame("nv12", planes=True), Preprocess())(*planes)


# --- one pass over the output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bgr8", "nv12"])
def test_no_intermediate_image(name):
    """Lowered, a kernel allocates tables of a side's length and one tile's samples, and stores each output once."""
    height, width = 640, 640
    kernels = memory_of_kernels(Frame(name), Preprocess(), (height, width))
    assert kernels
    for allocated, stores in kernels:
        assert 0 < allocated < 10 * (height + width)
        assert stores == 6  # three channels, inside the picture's rows and outside
