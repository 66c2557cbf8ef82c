"""FoldNormalization: same results with and without, gone where exact, nothing changed where not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preprocess_frames import random_frame
from road import (
    FoldNormalization,
    FusePreprocess,
    assert_equal,
    is_equal,
    module,
    operators,
    preprocess_of,
    program,
)

from tvm_zerocopy.specs import Frame, Preprocess

SIZE = (24, 32)
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])


def model(
    before=lambda ops, x: x,
    kernel=3,
    layout="NCHW",
    dtype="float32",
    groups=1,
    extra_output=False,
    convolution_last=False,
    **attrs,
):
    """main(images) -> relu(conv2d(before(images)) + bias), or the convolution alone; random weights."""
    rng = np.random.default_rng(0)
    nchw = layout == "NCHW"

    def body(ops, images):
        x = before(ops, images)
        channels = ops.side(x, 1 if nchw else 3)
        weight = rng.normal(size=(6, channels // groups, kernel, kernel)).astype(dtype) / kernel
        weight = ops.constant(weight if nchw else weight.transpose(2, 3, 1, 0), dtype)
        layouts = {"data_layout": layout, "kernel_layout": "OIHW" if nchw else "HWIO"}
        y = ops.conv2d(x, weight, groups=groups, **layouts, **attrs)
        if not convolution_last:
            bias = rng.normal(size=(6, 1, 1) if nchw else (6,)).astype(dtype)
            y = ops.relu(ops.add(y, ops.constant(bias, dtype)))
        return [y, x] if extra_output else y

    return module([("images", (1, 3, *SIZE) if nchw else (1, *SIZE, 3), dtype)], body)


def run(mod, *arrays):
    return program(mod)(*arrays)


def normalize(ops, x, axis=1):
    shape = [1] * 4
    shape[axis] = 3
    return ops.divide(ops.subtract(x, ops.constant(MEAN.reshape(shape))), ops.constant(STD.reshape(shape)))


def scale(ops, x):
    return ops.multiply(ops.constant(1 / 255), x)


def take_bgr(ops, x):
    return ops.take(x, [2, 1, 0], 1)


def flip(ops, x):
    return ops.flip(x, 1)


def split_bgr(ops, x):
    parts = ops.split(x, 3, 1)
    return ops.concatenate([parts[k] for k in (2, 1, 0)], 1)


def focus(ops, x):
    """YOLOX's stem: every second pixel, four times."""
    corners = ((0, 0), (1, 0), (0, 1), (1, 1))
    return ops.concatenate([ops.every_second_pixel(x, [i, j], SIZE) for i, j in corners], 1)


def then(*steps):
    def before(ops, x):
        for step in steps:
            x = step(ops, x)
        return x

    return before


PADDED, BARE = {"padding": (2, 2, 2, 2), "kernel": 6, "strides": 2}, {"padding": 0}
ASYMMETRIC = {"padding": (0, 1, 1, 0)}
CUT = ["strided_slice"] * 4 + ["concatenate"]
CASES = {
    "scale, padded": (then(scale), PADDED, ["nn.conv2d"]),
    "mean, bare": (then(normalize), BARE, ["nn.conv2d", "add"]),
    "mean, padded": (then(normalize), PADDED, ["add", "nn.conv2d"]),
    "mean, asymmetric": (then(normalize), ASYMMETRIC, ["add", "nn.conv2d"]),
    "scale and flip": (then(scale, flip), PADDED, ["nn.conv2d"]),
    "take": (then(take_bgr), PADDED, ["nn.conv2d"]),
    "split": (then(split_bgr), PADDED, ["nn.conv2d"]),
    "twice flipped": (then(flip, scale, take_bgr), PADDED, ["nn.conv2d"]),
    "mean after flip": (then(flip, normalize), BARE, ["nn.conv2d", "add"]),
    "focus": (then(scale, flip, focus), {"padding": 1}, [*CUT, "nn.conv2d"]),
    "mean, focus": (then(normalize, focus), BARE, [*CUT, "nn.conv2d", "add"]),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_in_front_of_a_convolution(name):
    before, attrs, left = CASES[name]
    mod = model(before, **attrs)
    folded = FoldNormalization()(mod)
    assert operators(folded) == [*left, "add", "nn.relu"]
    image = np.random.default_rng(1).uniform(0, 255 if "scale" in name else 1, (1, 3, *SIZE)).astype(np.float32)
    np.testing.assert_allclose(run(folded, image)[0], run(mod, image)[0], rtol=1e-5, atol=1e-5)


def test_nhwc():
    mod = model(lambda ops, x: normalize(ops, x, axis=3), layout="NHWC", **BARE)
    folded = FoldNormalization()(mod)
    assert operators(folded) == ["nn.conv2d", "add", "add", "nn.relu"]
    image = np.random.default_rng(1).random((1, *SIZE, 3), np.float32)
    np.testing.assert_allclose(run(folded, image)[0], run(mod, image)[0], rtol=1e-5, atol=1e-5)


PREPROCESS = [
    Preprocess(),
    Preprocess(mean=tuple(MEAN), std=tuple(STD)),
    Preprocess(channel_order="bgr", scale=0.5, std=(1.0, 2.0, 4.0)),
]


@pytest.mark.parametrize("preprocess", PREPROCESS, ids=str)
@pytest.mark.parametrize("attrs", [PADDED, BARE, ASYMMETRIC], ids=["padded", "bare", "asymmetric"])
@pytest.mark.parametrize("name, before", [("bgr8", then()), ("nv12", then(focus))], ids=["bgr8", "nv12 and focus"])
def test_preprocess_kernel_gives_raw_levels(preprocess, attrs, name, before):
    frame = Frame(name, height=40, width=60)
    mod = FusePreprocess(frame, preprocess)(model(before, **{"kernel": 3, **attrs}))
    folded = FoldNormalization()(mod)
    left = preprocess_of(folded)
    assert (left.scale, left.std) == (1.0, (1.0, 1.0, 1.0))
    assert left.channel_order == ("bgr" if name == "bgr8" else "rgb")
    mean = preprocess.mean if attrs is not BARE else (0.0, 0.0, 0.0)
    if left.channel_order != preprocess.channel_order:
        mean = mean[::-1]
    np.testing.assert_allclose(left.mean, np.array(mean) / preprocess.scale, rtol=1e-12)
    assert Preprocess.from_json(str(folded["main"].attrs["tz.preprocess"])) == preprocess  # what the user declared
    arrays = random_frame(frame, 40, 60)
    expected = run(mod, *arrays)[0]
    np.testing.assert_allclose(run(folded, *arrays)[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "mod",
    [
        model(),
        model(then(focus)),
        model(then(flip), groups=3),
        model(lambda ops, x: ops.add(x, ops.constant(np.ones((1, 3, *SIZE))))),  # varies in space
        model(lambda ops, x: ops.multiply(x, ops.constant(np.array([1, 0, 1]).reshape(1, 3, 1, 1)))),
        model(lambda ops, x: ops.divide(ops.constant(1.0), ops.add(x, ops.constant(1.0)))),
        model(lambda ops, x: ops.pad_pixels(x, 0.5)),
        model(lambda ops, x: ops.multiply(x, ops.constant(0.5, "float16")), dtype="float16"),
    ],
    ids=["nothing to fold", "focus", "groups", "in space", "zero", "reciprocal", "grey padding", "half precision"],
)
def test_nothing_changes_where_it_is_not_exact(mod):
    assert_equal(FoldNormalization()(mod), mod)


def test_weights_that_are_no_constants_stay():
    parameters = [("images", (1, 3, *SIZE), "float32"), ("weights", (6, 3, 3, 3), "float32")]
    mod = module(parameters, lambda ops, images, weights: ops.conv2d(scale(ops, images), weights))
    assert_equal(FoldNormalization()(mod), mod)


def test_an_image_with_another_reader_keeps_its_kernel():
    mod = FusePreprocess(Frame("bgr8", 40, 60), Preprocess())(model(extra_output=True))
    assert_equal(FoldNormalization()(mod), mod)


def test_an_intermediate_with_another_reader_stays():
    mod = model(then(normalize), extra_output=True, **BARE)
    folded = FoldNormalization()(mod)
    image = np.random.default_rng(1).random((1, 3, *SIZE), np.float32)
    for found, expected in zip(run(folded, image), run(mod, image)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attrs", [PADDED, BARE], ids=["padded", "bare"])
def test_a_convolution_that_is_the_output_stays_the_output(attrs):
    mod = model(then(normalize), convolution_last=True, **attrs)
    folded = FoldNormalization()(mod)
    image = np.random.default_rng(1).random((1, 3, *SIZE), np.float32)
    np.testing.assert_allclose(run(folded, image)[0], run(mod, image)[0], rtol=1e-5, atol=1e-5)


def test_twice_is_once():
    mod = FoldNormalization()(FusePreprocess(Frame("bgr8", 40, 60), PREPROCESS[1])(model(**PADDED)))
    assert is_equal(FoldNormalization()(mod), mod)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from([scale, normalize, flip, take_bgr, split_bgr]), max_size=4), st.booleans())
def test_any_sequence(steps, padded):
    mod = model(then(*steps), **(PADDED if padded else BARE))
    image = np.random.default_rng(1).random((1, 3, *SIZE), np.float32)
    expected = run(mod, image)[0]
    found = run(FoldNormalization()(mod), image)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * max(1, np.abs(expected).max()))
