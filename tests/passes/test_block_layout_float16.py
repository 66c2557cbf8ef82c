"""BlockLayoutFloat16 on first layers: the image as float16 pixels of four values, against numpy."""

import numpy as np
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import relax

from tvm_zerocopy.passes.block_layout_float16 import BlockLayoutFloat16
from tvm_zerocopy.passes.fold_normalization import FoldNormalization
from tvm_zerocopy.passes.fuse_preprocess import FusePreprocess
from tvm_zerocopy.reference import image as reference
from tvm_zerocopy.specs import Frame, Preprocess

SIZE = (13, 18)  # of the network's input


def first_layer(weight, strides, padding, dilation=1, batch=1, also_image=False):
    """A module of one convolution of the image, which may be a result itself."""
    builder = relax.BlockBuilder()
    image = relax.Var("images", relax.TensorType((batch, 3, *SIZE), "float32"))
    with builder.function("main", [image]):
        with builder.dataflow():
            out = builder.emit(
                relax.op.nn.conv2d(image, relax.const(weight), strides=strides, padding=padding, dilation=dilation)
            )
            results = [out, relax.op.multiply(image, relax.const(np.float32(2)))] if also_image else [out]
            result = builder.emit_output(relax.Tuple([builder.emit(each) for each in results]))
        builder.emit_func_output(result)
    return builder.get()


def lowered(mod, frame):
    passes = [FusePreprocess(frame, Preprocess()), FoldNormalization(), BlockLayoutFloat16()]
    return tvm.transform.Sequential([*passes, relax.transform.LegalizeOps()])(mod)


def convolved(blob, weight, strides=(1, 1), padding=(0, 0, 0, 0), dilation=1):
    """In numpy; padding is top, left, bottom, right."""
    top, left, bottom, right = padding
    blob = np.pad(blob, ((0, 0), (0, 0), (top, bottom), (left, right)))
    window = [dilation * (side - 1) + 1 for side in weight.shape[2:]]
    windows = np.lib.stride_tricks.sliding_window_view(blob, window, axis=(2, 3))
    windows = windows[:, :, :: strides[0], :: strides[1], ::dilation, ::dilation]
    return np.einsum("ncyxij,ocij->noyx", windows, weight)


def run(mod, picture):
    machine = relax.VirtualMachine(tvm.compile(mod, "llvm"), tvm.cpu())
    return [part.numpy() for part in machine["main"](tvm.runtime.tensor(picture))]


def kernels(mod):
    """What main's kernels give: (name, shape, dtype)."""
    calls = [b.value for block in mod["main"].body.blocks for b in block.bindings]
    return [(c.args[0].name_hint, tuple(map(int, c.ty.shape)), c.ty.dtype) for c in calls if isinstance(c, relax.Call)]


@settings(max_examples=15, deadline=None)
@given(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(*[st.integers(0, 3)] * 4),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 16, 20]),
    st.integers(0, 2**32 - 1),
)
def test_any_window(window, strides, padding, batch, channels, seed):
    random = np.random.default_rng(seed)
    weight = random.standard_normal((channels, 3, *window)).astype("float32")
    shape = (batch, 9, 11, 3) if batch > 1 else (9, 11, 3)
    picture = random.integers(0, 256, shape, np.uint8)
    frame = Frame("bgr8", 9, 11, batch=batch)
    mod = lowered(first_layer(weight, strides, padding, batch=batch), frame)
    assert (batch, 1, *SIZE, 4) in [shape for _, shape, dtype in kernels(mod) if dtype == "float16"]
    (found,) = run(mod, picture)
    blob = reference.preprocess(picture, frame, Preprocess(), SIZE)
    expected = convolved(blob, weight, strides, padding)
    scale = np.abs(expected).max()  # operands are rounded to 11 bits
    np.testing.assert_allclose(found, expected, atol=1e-3 * max(scale, 1), rtol=0)


def test_an_image_with_other_readers_is_made_for_them_too():
    random = np.random.default_rng(1)
    picture = random.integers(0, 256, (9, 11, 3), np.uint8)
    weight, frame = random.standard_normal((16, 3, 3, 3)).astype("float32"), Frame("bgr8", 9, 11)
    found, doubled = run(lowered(first_layer(weight, 1, 1, also_image=True), frame), picture)
    blob = reference.preprocess(picture, frame, Preprocess(), SIZE)
    np.testing.assert_allclose(doubled, 2 * blob, rtol=1e-6)
    expected = convolved(blob, weight, padding=(1, 1, 1, 1))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max(), rtol=0)


def test_a_dilated_window_reads_the_image_as_it_is():
    random = np.random.default_rng(2)
    picture = random.integers(0, 256, (9, 11, 3), np.uint8)
    weight, frame = random.standard_normal((16, 3, 3, 3)).astype("float32"), Frame("bgr8", 9, 11)
    (found,) = run(lowered(first_layer(weight, 1, 2, dilation=2), frame), picture)
    blob = reference.preprocess(picture, frame, Preprocess(), SIZE)
    expected = convolved(blob, weight, padding=(2, 2, 2, 2), dilation=2)
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max(), rtol=0)
