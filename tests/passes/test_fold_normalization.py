"""FoldNormalization: same results with and without, gone where exact, nothing changed where not."""

import numpy as np
import pytest
import tvm
import tvm_ffi
from hypothesis import given, settings
from hypothesis import strategies as st
from preprocess_cases import random_frame, tensor
from tvm import relax

from tvm_zerocopy.passes.fold_normalization import FoldNormalization
from tvm_zerocopy.passes.fuse_preprocess import FusePreprocess
from tvm_zerocopy.specs import Frame, Preprocess

SIZE = (24, 32)
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.3, 0.25])


def constant(array):
    return relax.const(np.asarray(array, np.float32))


def model(
    before=lambda emit, x: x,
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
    shape = (1, 3, *SIZE) if nchw else (1, *SIZE, 3)
    builder = relax.BlockBuilder()
    images = relax.Var("images", relax.TensorType(shape, dtype))
    with builder.function("main", [images]):
        with builder.dataflow():
            x = before(builder.emit, images)
            channels = int(x.ty.shape[1 if nchw else 3])
            weight = rng.normal(size=(6, channels // groups, kernel, kernel)).astype(dtype) / kernel
            weight = weight if nchw else weight.transpose(2, 3, 1, 0)
            y = relax.op.nn.conv2d(
                x,
                relax.const(weight),
                data_layout=layout,
                kernel_layout="OIHW" if nchw else "HWIO",
                groups=groups,
                **attrs,
            )
            if not convolution_last:
                bias = rng.normal(size=(6, 1, 1) if nchw else (6,)).astype(dtype)
                y = builder.emit(relax.op.nn.relu(builder.emit(relax.op.add(builder.emit(y), relax.const(bias)))))
            outputs = relax.Tuple([y, x]) if extra_output else y
            out = builder.emit_output(outputs)
        builder.emit_func_output(out)
    return builder.get()


def run(mod, *arrays):
    compiled = tvm.compile(relax.transform.LegalizeOps()(mod), "llvm")
    out = relax.VirtualMachine(compiled, tvm.cpu())["main"](*(tensor(a) for a in arrays))
    return [o.numpy() for o in out] if not isinstance(out, tvm.runtime.Tensor) else [out.numpy()]


def operators(mod):
    bindings = [b.value for block in mod["main"].body.blocks for b in block.bindings]
    return [str(v.op.name).replace("relax.", "") for v in bindings if isinstance(getattr(v, "op", None), tvm.ir.Op)]


def preprocess_kernel_of(mod):
    (found,) = (f for f in mod.functions.values() if isinstance(f, tvm.tirx.PrimFunc))
    return Preprocess.from_json(found.attrs["tz.preprocess"])


def normalize(emit, x, axis=1):
    shape = [1] * 4
    shape[axis] = 3
    x = emit(relax.op.subtract(x, constant(MEAN.reshape(shape))))
    return emit(relax.op.divide(x, constant(STD.reshape(shape))))


def scale(emit, x):
    return emit(relax.op.multiply(constant(1 / 255), x))


def take_bgr(emit, x):
    return emit(relax.op.take(x, relax.const(np.array([2, 1, 0], "int64")), axis=1, mode="clip"))


def flip(emit, x):
    return emit(relax.op.flip(x, axis=1))


def split_bgr(emit, x):
    parts = emit(relax.op.split(x, 3, axis=1))
    return emit(relax.op.concat([emit(relax.TupleGetItem(parts, k)) for k in (2, 1, 0)], axis=1))


def focus(emit, x):
    """YOLOX's stem: every second pixel, four times."""
    corners = ((0, 0), (1, 0), (0, 1), (1, 1))
    return emit(relax.op.concat([emit(relax.op.strided_slice(x, [2, 3], [i, j], SIZE, [2, 2])) for i, j in corners], 1))


def then(*steps):
    def before(emit, x):
        for step in steps:
            x = step(emit, x)
        return x

    return before


PADDED, BARE = {"padding": (2, 2, 2, 2), "kernel": 6, "strides": 2}, {"padding": 0}
ASYMMETRIC = {"padding": (0, 1, 1, 0)}
CASES = {
    "scale, padded": (then(scale), PADDED, []),
    "mean, bare": (then(normalize), BARE, ["add"]),
    "mean, padded": (then(normalize), PADDED, ["add_before"]),
    "mean, asymmetric": (then(normalize), ASYMMETRIC, ["add_before"]),
    "scale and flip": (then(scale, flip), PADDED, []),
    "take": (then(take_bgr), PADDED, []),
    "split": (then(split_bgr), PADDED, []),
    "twice flipped": (then(flip, scale, take_bgr), PADDED, []),
    "mean after flip": (then(flip, normalize), BARE, ["add"]),
    "focus": (then(scale, flip, focus), {"padding": 1}, ["strided_slice"] * 4 + ["concat"]),
    "mean, focus": (then(normalize, focus), BARE, ["strided_slice"] * 4 + ["concat", "add"]),
}


@pytest.mark.parametrize("name", CASES)
def test_operators_in_front_of_a_convolution(name):
    before, attrs, left = CASES[name]
    mod = model(before, **attrs)
    folded = FoldNormalization()(mod)
    relax.analysis.well_formed(folded)
    expected = {"add": ["nn.conv2d", "add"], "add_before": ["add", "nn.conv2d"]}
    structure = [op for op in left if not op.startswith("add")]
    convolution = expected[left[-1]] if left and left[-1].startswith("add") else ["nn.conv2d"]
    assert operators(folded) == [*structure, *convolution, "add", "nn.relu"]
    image = np.random.default_rng(1).uniform(0, 255 if "scale" in name else 1, (1, 3, *SIZE)).astype(np.float32)
    np.testing.assert_allclose(run(folded, image)[0], run(mod, image)[0], rtol=1e-5, atol=1e-5)


def test_nhwc():
    mod = model(lambda emit, x: normalize(emit, x, axis=3), layout="NHWC", **BARE)
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
    left = preprocess_kernel_of(folded)
    assert (left.scale, left.std) == (1.0, (1.0, 1.0, 1.0))
    assert left.channel_order == ("bgr" if name == "bgr8" else "rgb")
    mean = preprocess.mean if attrs is not BARE else (0.0, 0.0, 0.0)
    if left.channel_order != preprocess.channel_order:
        mean = mean[::-1]
    np.testing.assert_allclose(left.mean, np.array(mean) / preprocess.scale, rtol=1e-12)
    assert Preprocess.from_json(folded["main"].attrs["tz.preprocess"]) == preprocess  # what the user declared
    arrays = random_frame(frame, 40, 60)
    expected = run(mod, *arrays)[0]
    np.testing.assert_allclose(run(folded, *arrays)[0], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "mod",
    [
        model(),
        model(then(focus)),
        model(then(flip), groups=3),
        model(lambda emit, x: emit(relax.op.add(x, constant(np.ones((1, 3, *SIZE)))))),  # varies in space
        model(lambda emit, x: emit(relax.op.multiply(x, constant(np.array([1, 0, 1]).reshape(1, 3, 1, 1))))),
        model(lambda emit, x: emit(relax.op.divide(constant(1.0), emit(relax.op.add(x, constant(1.0)))))),
        model(lambda emit, x: emit(relax.op.nn.pad(x, (0, 0, 0, 0, 1, 1, 1, 1), pad_value=0.5))),
        model(lambda emit, x: emit(relax.op.multiply(x, relax.const(np.float16(0.5)))), dtype="float16"),
    ],
    ids=["nothing to fold", "focus", "groups", "in space", "zero", "reciprocal", "grey padding", "half precision"],
)
def test_nothing_changes_where_it_is_not_exact(mod):
    tvm.ir.assert_structural_equal(FoldNormalization()(mod), mod)


def test_an_image_with_another_reader_keeps_its_kernel():
    mod = FusePreprocess(Frame("bgr8"), Preprocess())(model(extra_output=True))
    tvm.ir.assert_structural_equal(FoldNormalization()(mod), mod)


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
    relax.analysis.well_formed(folded)
    image = np.random.default_rng(1).random((1, 3, *SIZE), np.float32)
    np.testing.assert_allclose(run(folded, image)[0], run(mod, image)[0], rtol=1e-5, atol=1e-5)


def test_twice_is_once():
    mod = FoldNormalization()(FusePreprocess(Frame("bgr8"), PREPROCESS[1])(model(**PADDED)))
    assert tvm_ffi.structural_equal(FoldNormalization()(mod), mod)


@settings(max_examples=8, deadline=None)
@given(st.lists(st.sampled_from([scale, normalize, flip, take_bgr, split_bgr]), max_size=4), st.booleans())
def test_any_sequence(steps, padded):
    mod = model(then(*steps), **(PADDED if padded else BARE))
    image = np.random.default_rng(1).random((1, 3, *SIZE), np.float32)
    expected = run(mod, image)[0]
    found = run(FoldNormalization()(mod), image)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5 * max(1, np.abs(expected).max()))
