"""FoldNormalization for Relay: same results with and without, gone where exact, nothing changed where not."""

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from preprocess_frames import random_frame
from relay_cases import program
from tvm import relay

from tvm_zerocopy.passes.relay import FoldNormalization, FusePreprocess
from tvm_zerocopy.passes.relay.tir_operator import kernel_of
from tvm_zerocopy.specs import Frame, Preprocess

SIZE = (24, 32)
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])


def constant(array):
    return relay.const(np.asarray(array, np.float32))


def model(before=lambda x: x, kernel=3, layout="NCHW", dtype="float32", groups=1, extra_output=False, **attrs):
    """main(images) -> relu(conv2d(before(images)) + bias), random weights."""
    rng = np.random.default_rng(0)
    nchw = layout == "NCHW"
    images = relay.var("images", shape=(1, 3, *SIZE) if nchw else (1, *SIZE, 3), dtype=dtype)
    x = before(images)
    channels = 12 if before in FOCUSED else 3
    weight = rng.normal(size=(6, channels // groups, kernel, kernel)).astype(dtype) / kernel
    y = relay.nn.conv2d(
        x,
        relay.const(weight.astype(dtype) if nchw else weight.transpose(2, 3, 1, 0).astype(dtype)),
        kernel_size=(kernel, kernel),
        channels=6,
        data_layout=layout,
        kernel_layout="OIHW" if nchw else "HWIO",
        groups=groups,
        **attrs,
    )
    bias = rng.normal(size=(6, 1, 1) if nchw else (6,)).astype(dtype)
    y = relay.nn.relu(relay.add(y, relay.const(bias)))
    return tvm.IRModule.from_expr(relay.Function([images], relay.Tuple([y, x]) if extra_output else y))


def operators(mod):
    names = []
    relay.analysis.post_order_visit(
        mod["main"].body, lambda e: names.append(e.op.name) if isinstance(e, relay.Call) else None
    )
    return names


def normalize(x, axis=1):
    shape = [1] * 4
    shape[axis] = 3
    return relay.divide(relay.subtract(x, constant(MEAN.reshape(shape))), constant(STD.reshape(shape)))


def scale(x):
    return relay.multiply(constant(1 / 255), x)


def take_bgr(x):
    return relay.take(x, relay.const(np.array([2, 1, 0], "int64")), axis=1)


def flip(x):
    return relay.reverse(x, axis=1)


def split_bgr(x):
    parts = relay.split(x, 3, axis=1)
    return relay.concatenate([parts[k] for k in (2, 1, 0)], axis=1)


def focus(x):
    """YOLOX's stem: every second pixel, four times."""
    corners = ((0, 0), (1, 0), (0, 1), (1, 1))
    return relay.concatenate([relay.strided_slice(x, [i, j], SIZE, [2, 2], axes=[2, 3]) for i, j in corners], 1)


def then(*steps):
    def before(x):
        for step in steps:
            x = step(x)
        return x

    if focus in steps:
        FOCUSED.append(before)
    return before


FOCUSED = []
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
    found, expected = (program(m)(images=image)[0] for m in (folded, mod))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_nhwc():
    mod = model(lambda x: normalize(x, axis=3), layout="NHWC", **BARE)
    folded = FoldNormalization()(mod)
    assert operators(folded) == ["nn.conv2d", "add", "add", "nn.relu"]
    image = np.random.default_rng(1).random((1, *SIZE, 3), np.float32)
    found, expected = (program(m)(images=image)[0] for m in (folded, mod))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


PREPROCESS = [
    Preprocess(),
    Preprocess(mean=tuple(MEAN), std=tuple(STD)),
    Preprocess(channel_order="bgr", scale=0.5, std=(1.0, 2.0, 4.0)),
]


def preprocess_of(mod):
    """What the module's preprocess kernel does."""
    found = []
    relay.analysis.post_order_visit(mod["main"].body, lambda e: found.append(kernel_of(e)))
    (kernel,) = (f for f in found if f is not None)
    return Preprocess.from_json(str(kernel.attrs["tz.preprocess"]))


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
    (array,) = random_frame(frame, 40, 60)
    found, expected = (program(m)(frame=array)[0] for m in (folded, mod))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "mod",
    [
        model(),
        model(then(focus)),
        model(then(flip), groups=3),
        model(lambda x: relay.add(x, constant(np.ones((1, 3, *SIZE))))),  # varies in space
        model(lambda x: relay.multiply(x, constant(np.array([1, 0, 1]).reshape(1, 3, 1, 1)))),
        model(lambda x: relay.divide(constant(1.0), relay.add(x, constant(1.0)))),
        model(lambda x: relay.nn.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), pad_value=0.5)),
        model(lambda x: relay.multiply(x, relay.const(np.float16(0.5))), dtype="float16"),
    ],
    ids=["nothing to fold", "focus", "groups", "in space", "zero", "reciprocal", "grey padding", "half precision"],
)
def test_nothing_changes_where_it_is_not_exact(mod):
    tvm.ir.assert_structural_equal(FoldNormalization()(mod), relay.transform.InferType()(mod))


def test_weights_that_are_no_constants_stay():
    images, weights = relay.var("images", shape=(1, 3, *SIZE)), relay.var("weights", shape=(6, 3, 3, 3))
    body = relay.nn.conv2d(scale(images), weights, kernel_size=(3, 3), channels=6)
    mod = relay.transform.InferType()(tvm.IRModule.from_expr(relay.Function([images, weights], body)))
    tvm.ir.assert_structural_equal(FoldNormalization()(mod), mod)


def test_an_image_with_another_reader_keeps_its_kernel():
    mod = FusePreprocess(Frame("bgr8", 40, 60), Preprocess())(model(extra_output=True))
    tvm.ir.assert_structural_equal(FoldNormalization()(mod), mod)


def test_an_intermediate_with_another_reader_stays():
    mod = model(then(normalize), extra_output=True, **BARE)
    image = np.random.default_rng(1).random((1, 3, *SIZE), np.float32)
    for found, expected in zip(program(FoldNormalization()(mod))(images=image), program(mod)(images=image)):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_twice_is_once():
    mod = FoldNormalization()(FusePreprocess(Frame("bgr8", 40, 60), PREPROCESS[1])(model(**PADDED)))
    assert tvm.ir.structural_equal(FoldNormalization()(mod), mod)


@settings(max_examples=6, deadline=None)
@given(st.lists(st.sampled_from([scale, normalize, flip, take_bgr, split_bgr]), max_size=4), st.booleans())
def test_any_sequence(steps, padded):
    mod = model(then(*steps), **(PADDED if padded else BARE))
    image = np.random.default_rng(1).random((1, 3, *SIZE), np.float32)
    found, expected = (program(m)(images=image)[0] for m in (FoldNormalization()(mod), mod))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * max(1, np.abs(expected).max()))
