"""FusePreprocess: what becomes of ``main``."""

import numpy as np
import pytest
from preprocess_frames import INPUT, random_frame
from road import FusePreprocess, frame_argument, module, parameters, program

from tvm_zerocopy.errors import ModelError, SpecError
from tvm_zerocopy.reference import preprocess as reference
from tvm_zerocopy.specs import Frame, Preprocess

SMALL = Frame("bgr8", 8, 8)


def model(shape=(1, 3, *INPUT), dtype="float32"):
    """main(images) -> images + images."""
    return module([("images", shape, dtype)], lambda ops, images: ops.add(images, images))


def test_main_takes_the_frame_and_records_the_specs():
    frame, preprocess = Frame("nv12", 90, 120), Preprocess.yolox()
    mod = FusePreprocess(frame, preprocess)(model())
    assert parameters(mod) == [("frame", "uint8", 2)]
    assert Frame.from_json(str(mod["main"].attrs["tz.frame"])) == frame
    assert Preprocess.from_json(str(mod["main"].attrs["tz.preprocess"])) == preprocess


def test_other_parameters_stay_in_place():
    given = [("threshold", ()), ("images", (1, 3, *INPUT)), ("weights", (8, 3, 3, 3))]
    mod = module(
        [(name, shape, "float32") for name, shape in given],
        lambda ops, before, images, after: ops.multiply(ops.conv2d(images, after), before),
    )
    fused = FusePreprocess(Frame("nv12", 90, 120, planes=True), Preprocess())(mod)
    assert [name for name, *_ in parameters(fused)] == ["threshold", "luma", "chroma", "weights"]


def test_half_precision_and_nhwc_inputs():
    frame, preprocess = Frame("bgr8", 70, 90), Preprocess(layout="NHWC")
    (array,) = random_frame(frame, 70, 90)
    (found,) = program(FusePreprocess(frame, preprocess)(model((1, *INPUT, 3), "float16")))(array)
    np.testing.assert_array_equal(found, 2 * reference(array, frame, preprocess, INPUT).astype(np.float16))


@pytest.mark.parametrize("name, planes", [("bgr8", False), ("nv12", False), ("nv12", True), ("i420", True)])
@pytest.mark.parametrize("size", [{}, {"height": 90, "width": 120}], ids=["any size", "fixed"])
def test_anybodys_build_reads_padded_rows(name, planes, size):
    """Without this package's schedules or engine."""
    frame = Frame(name, planes=planes, **size)
    run = program(FusePreprocess(frame, Preprocess())(model()))
    arrays = random_frame(frame, 90, 120, padding=7, misalign=1)
    (found,) = run(*(frame_argument(frame, array) for array in arrays))
    np.testing.assert_array_equal(found, 2 * reference(arrays, frame, Preprocess(), INPUT))


@pytest.mark.parametrize(
    "shape, preprocess, frame, error, message",
    [
        ((1, 3, None, 96), Preprocess(), SMALL, ModelError, "not fixed"),
        ((1, 4, 64, 96), Preprocess(), SMALL, ModelError, "3 channels.*images"),
        ((1, 64, 96, 3), Preprocess(), SMALL, SpecError, "use NHWC"),
        ((1, 3, 64, 96), Preprocess(layout="NHWC"), SMALL, SpecError, "use NCHW"),
        ((2, 3, 64, 96), Preprocess(), SMALL, SpecError, "batch is 1.*has 2"),
        ((1, 3, 64, 96), Preprocess(), Frame("bgr8", 8, 8, batch=2), SpecError, "batch is 2.*has 1"),
    ],
)
def test_what_cannot_be(shape, preprocess, frame, error, message):
    with pytest.raises(error, match=message):
        FusePreprocess(frame, preprocess)(model(shape))


def test_only_once():
    once = FusePreprocess(SMALL, Preprocess())(model())
    with pytest.raises(ModelError, match="only once"):
        FusePreprocess(SMALL, Preprocess())(once)
