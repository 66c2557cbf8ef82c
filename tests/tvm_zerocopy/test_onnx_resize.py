"""Resize is imported exactly as onnxruntime computes it, whatever its modes, scales, sizes and axes."""

import numpy as np
import onnxruntime
import pytest
import tvm
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

from tvm_zerocopy.errors import ModelError
from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.onnx_resize import settle_resizes

COORDINATES = [
    "asymmetric",
    "half_pixel",
    "pytorch_half_pixel",
    "tf_half_pixel_for_nn",
    "align_corners",
    "half_pixel_symmetric",
    "tf_crop_and_resize",
]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
SCALES = st.one_of(
    st.sampled_from([0.5, 0.7, 1 / 3, 1.0, 1.1, 1.5, 1.7, 2.0, 2.5, 3.0, 4.0]), st.floats(0.125, 4, width=32)
)

OF_TIES = pytest.mark.skipif(
    tuple(map(int, onnxruntime.__version__.split(".")[:2])) < (1, 27),
    reason="onnxruntime before 1.27 breaks ties otherwise (its issue 28291)",
)


def resize_model(shape, opset=18, **attributes):
    """One Resize; ``scales``, ``sizes`` and ``roi`` become its constant inputs."""
    kinds = {"roi": np.float32, "scales": np.float32, "sizes": np.int64}
    given_inputs = {k: np.array(attributes.pop(k), kinds[k]) for k in kinds if k in attributes}
    order = ("scales",) if opset < 11 else ("roi", "scales", "sizes")
    inputs = ["images", *(name if name in given_inputs else "" for name in order)]
    graph = helper.make_graph(
        [helper.make_node("Resize", inputs, ["out"], name="/up/Resize", **attributes)],
        "resize",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in given_inputs.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run_onnx(model, image):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options).run(None, {"images": image})[0]


def run_imported(model, image):
    built = tvm.relax.build(relax.transform.LegalizeOps()(import_onnx(model).module), "llvm")
    return relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(image)).numpy()


def picture(shape):
    return np.random.default_rng(7).standard_normal(shape).astype("float32")


@st.composite
def resizes(draw, modes):
    """A model that onnxruntime takes too."""
    shape = (1, 3, draw(st.integers(1, 60)), draw(st.integers(1, 60)))
    attributes = {
        "mode": draw(st.sampled_from(modes)),
        "coordinate_transformation_mode": draw(st.sampled_from(COORDINATES)),
    }
    if attributes["mode"] == "nearest":
        attributes["nearest_mode"] = draw(st.sampled_from(ROUNDINGS))
    if draw(st.booleans()):
        scales = draw(SCALES), draw(SCALES)
        assume(all(scale * side >= 1 for scale, side in zip(scales, shape[2:])))
        attributes["scales"] = scales
    else:
        attributes["sizes"] = draw(st.integers(1, 130)), draw(st.integers(1, 130))
    if draw(st.booleans()):
        attributes["axes"] = [2, 3]
        if "sizes" in attributes:
            policies = ["stretch", "not_larger", "not_smaller"]
            attributes["keep_aspect_ratio_policy"] = draw(st.sampled_from(policies))
    else:
        key = "scales" if "scales" in attributes else "sizes"
        attributes[key] = (1, 1 if key == "scales" else 3, *attributes[key])
    if attributes["coordinate_transformation_mode"] == "tf_crop_and_resize":
        start, end = ([draw(st.floats(low, high, width=32)) for _ in range(2)] for low, high in ((0, 0.5), (0.5, 1)))
        attributes["roi"] = [*start, *end] if "axes" in attributes else [0, 0, *start, 1, 1, *end]
    return resize_model(shape, **attributes)


def settled(model):
    try:
        return settle_resizes(model)
    except ModelError as error:  # 0 rows, or a roi that ends at 1 and is rounded past the last pixel
        assert "leaves nothing" in str(error) or "outside the picture" in str(error)
        assume(False)


@OF_TIES
@settings(max_examples=400, deadline=None)
@example(resize_model((1, 3, 1, 20), sizes=[1, 3, 1, 6], mode="nearest", nearest_mode="round_prefer_ceil"))
@example(resize_model((1, 3, 1, 28), scales=[1, 1, 1, 1.3], mode="nearest"))
@given(model=resizes(["nearest"]))
def test_nearest_takes_the_same_pixels(model):
    image = picture([dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim])
    np.testing.assert_array_equal(run_onnx(settled(model), image), run_onnx(model, image))


@settings(max_examples=200, deadline=None)
@given(model=resizes(["linear"]))
def test_linear_weighs_the_same_pixels(model):
    image = picture([dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim])
    np.testing.assert_allclose(run_onnx(settled(model), image), run_onnx(model, image), atol=1e-4)


@OF_TIES
@settings(max_examples=15, deadline=None)
@given(model=resizes(["nearest", "linear"]))
def test_the_import_computes_it(model):
    image = picture([dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim])
    settled(model)
    np.testing.assert_allclose(run_imported(model, image), run_onnx(model, image), atol=1e-4)


@OF_TIES
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("coordinates", COORDINATES[:-1])
def test_nearest_by_one_point_seven(coordinates, rounding):
    """20 * 1.7 = 34 columns, one of which TVM's importer reads elsewhere."""
    modes = {"mode": "nearest", "coordinate_transformation_mode": coordinates, "nearest_mode": rounding}
    model, image = resize_model((1, 3, 20, 20), scales=[1, 1, 1.7, 1.7], **modes), picture((1, 3, 20, 20))
    np.testing.assert_array_equal(run_imported(model, image), run_onnx(model, image))


@pytest.mark.parametrize("coordinates", COORDINATES[:-1])
@pytest.mark.parametrize("size", [{"sizes": [1, 3, 701, 32]}, {"scales": [1, 1, 0.5, 2]}])
def test_linear_is_within_1e_5_far_from_the_corner(coordinates, size):
    model = resize_model((1, 3, 300, 20), mode="linear", coordinate_transformation_mode=coordinates, **size)
    image = np.random.default_rng(7).random((1, 3, 300, 20), dtype=np.float32)
    np.testing.assert_allclose(run_imported(model, image), run_onnx(model, image), atol=1e-5)


def test_nothing_is_said_on_standard_error(capfd):
    run_imported(resize_model((1, 3, 8, 8), scales=[1, 1, 1.5, 1.5], mode="nearest"), picture((1, 3, 8, 8)))
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("scale", [0.4, 1.7, 2.0])
def test_opset_10(scale):
    model, image = (
        resize_model((1, 3, 11, 9), opset=10, scales=[1, 1, scale, 2], mode="nearest"),
        picture((1, 3, 11, 9)),
    )
    np.testing.assert_array_equal(run_imported(model, image), run_onnx(model, image))


@pytest.mark.parametrize("scale", [0.5, 2.0, 3.0])
def test_cubic_by_a_whole_number(scale):
    model, image = resize_model((1, 3, 8, 6), scales=[1, 1, scale, scale], mode="cubic"), picture((1, 3, 8, 6))
    np.testing.assert_allclose(run_imported(model, image), run_onnx(model, image), atol=1e-4)


def test_batch_and_channels_are_resized_too():
    model, image = resize_model((1, 3, 4, 4), sizes=[2, 5, 4, 6], mode="nearest"), picture((1, 3, 4, 4))
    np.testing.assert_array_equal(run_imported(model, image), run_onnx(model, image))


@pytest.mark.parametrize("modes", [("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")])
def test_the_usual_upsample_stays_as_it_is(modes):
    attributes = {"coordinate_transformation_mode": modes[0], "nearest_mode": modes[1], "mode": "nearest"}
    model = resize_model((1, 3, 8, 8), scales=[1, 1, 2, 2], **attributes)
    assert settle_resizes(model) is model


@pytest.mark.parametrize("attributes", [{"sizes": [1, 3, 16, 24]}, {"scales": [2, 3], "axes": [2, 3]}])
def test_whole_repeats_stay_one_resize(attributes):
    nodes = settle_resizes(resize_model((1, 3, 8, 8), mode="nearest", **attributes)).graph.node
    assert [node.op_type for node in nodes] == ["Resize"]


@pytest.mark.parametrize(
    "attributes, message",
    [
        ({"mode": "linear", "antialias": 1, "scales": [1, 1, 0.5, 0.5]}, "antialias=1.*export it without"),
        ({"mode": "cubic", "scales": [1, 1, 1.7, 1.7], "sizes": None}, "cubic at half_pixel.*mode linear or nearest"),
        ({"mode": "nearest", "scales": [1, 1, 0.01, 1]}, "leaves nothing"),
        ({"mode": "nearest", "nearest_mode": "up", "scales": [1, 1, 1.5, 1]}, "unknown nearest_mode 'up'"),
        (
            {
                "coordinate_transformation_mode": "tf_crop_and_resize",
                "roi": [0, 0, -0.5, 0, 1, 1, 1, 1],
                "scales": [1, 1, 2, 2],
            },
            "outside the picture",
        ),
    ],
)
def test_what_cannot_be_exact_says_so(attributes, message):
    attributes = {key: value for key, value in attributes.items() if value is not None}
    with pytest.raises(ModelError, match=rf"Resize \(node '/up/Resize'\).*{message}"):
        import_onnx(resize_model((1, 3, 21, 8), **attributes))
