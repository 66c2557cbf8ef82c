"""FusePreprocess for Relay: every format and option equal to OpenCV and the reference, as one kernel."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from opencv_preprocess import opencv_levels, to_bgr
from preprocess_frames import INPUT, LAYOUTS, OPTIONS, random_frame
from relay_cases import build, executor, image_model, kernels, program
from tvm import relay

from tvm_zerocopy.buffers import ExternalBuffer
from tvm_zerocopy.errors import UnsupportedError
from tvm_zerocopy.passes.relay import FusePreprocess
from tvm_zerocopy.passes.relay.frame_descriptor import describe
from tvm_zerocopy.reference import preprocess as reference
from tvm_zerocopy.specs import YUV_420, YUV_422, Frame, Preprocess

NAMES = {1: ("frame",), 2: ("luma", "chroma"), 3: ("luma", "u", "v")}


def model(frame, preprocess, size=INPUT, dtype="float32"):
    shape = (frame.batch, 3, *size) if preprocess.layout == "NCHW" else (frame.batch, *size, 3)
    return image_model(shape, dtype)


def image(run, arrays):
    """What the program makes of the frame; the model doubled it."""
    (out,) = run(**dict(zip(NAMES[len(arrays)], arrays)))
    return out / 2


@pytest.mark.parametrize("name, planes", LAYOUTS)
@settings(max_examples=4, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_every_format_equals_opencv(name, planes, height, width, seed):
    height += height % 2 if name in YUV_420 else 0
    width += width % 2 if name in YUV_420 + YUV_422 else 0
    frame, preprocess = Frame(name, height, width, planes=planes), Preprocess(scale=1.0)
    arrays = random_frame(frame, height, width, seed)
    found = image(program(FusePreprocess(frame, preprocess)(model(frame, preprocess))), arrays)
    np.testing.assert_array_equal(found, opencv_levels(to_bgr(frame, arrays), preprocess, INPUT))


@pytest.mark.parametrize("preprocess", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "name, batch, size, height, width",
    [("bgr8", 1, INPUT, 150, 77), ("nv12", 3, (40, 56), 30, 42), ("gray8", 2, (37, 31), 1, 99)],
)
def test_options(preprocess, name, batch, size, height, width):
    frame = Frame(name, height, width, batch=batch)
    run = program(FusePreprocess(frame, preprocess)(model(frame, preprocess, size)))
    for seed in range(3):
        arrays = random_frame(frame, height, width, seed)
        expected = reference(arrays, frame, preprocess, size)
        np.testing.assert_allclose(image(run, arrays), expected, rtol=1e-6, atol=1e-6)


def test_preprocessing_is_one_kernel():
    frame, preprocess = Frame("nv12", 90, 120), Preprocess()
    library = build(FusePreprocess(frame, preprocess)(model(frame, preprocess)))
    called = kernels(library)
    assert len(called) == 2 and "tz_preprocess" in called[0]  # the other one is the model's addition
    mod = FusePreprocess(frame, preprocess)(model(frame, preprocess))
    arrays = random_frame(frame, 90, 120)
    expected = image(executor(library)[1], arrays)
    np.testing.assert_array_equal(image(program(mod), arrays), expected)


def test_virtual_machine():
    frame, preprocess = Frame("bgr8", 50, 70), Preprocess()
    mod = FusePreprocess(frame, preprocess)(model(frame, preprocess))
    with tvm.transform.PassContext(opt_level=3):
        executable = relay.vm.compile(mod, "llvm -mtriple=x86_64-linux-gnu")
    (array,) = random_frame(frame, 50, 70)
    found = tvm.runtime.vm.VirtualMachine(executable, tvm.cpu()).invoke("main", array).numpy() / 2
    np.testing.assert_array_equal(found, reference(array, frame, preprocess, INPUT))


@pytest.mark.parametrize("frame, message", [(Frame(), "one size"), (Frame("bgr8", 8, 8, pitch=32), "no padded rows")])
def test_what_a_dense_tensor_cannot_is_one_clear_line(frame, message):
    with pytest.raises(UnsupportedError, match=message) as error:
        FusePreprocess(frame, Preprocess(), by_address=False)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name, planes", LAYOUTS)
def test_frames_by_address_of_any_size_pitch_and_alignment(name, planes):
    """Rows that are padded on both sides, from an odd address, in two sizes."""
    frame, preprocess = Frame(name, planes=planes), Preprocess()
    run = program(FusePreprocess(frame, preprocess)(model(frame, preprocess)))
    for height, width in ((50, 70), (96, 64)):
        arrays = random_frame(frame, height, width)
        padded = [np.zeros((len(a), a.shape[1] + 8, *a.shape[2:]), np.uint8)[:, 3 : 3 + a.shape[1]] for a in arrays]
        for view, array in zip(padded, arrays):
            view[...] = array
        descriptors = [np.array(describe(ExternalBuffer.wrap(view)), np.int64) for view in padded]
        np.testing.assert_array_equal(image(run, descriptors), reference(arrays, frame, preprocess, INPUT))


def test_padded_rows_of_a_known_pitch():
    frame, preprocess = Frame("bgr8", 50, 70, pitch=256), Preprocess()
    buffer = ExternalBuffer.allocate((50, 70, 3), pitch=256)
    buffer.numpy()[...] = random_frame(frame, 50, 70)[0]
    run = program(FusePreprocess(frame, preprocess)(model(frame, preprocess)))
    found = image(run, [np.array(describe(buffer), np.int64)])
    np.testing.assert_array_equal(found, reference(buffer.numpy(), frame, preprocess, INPUT))
