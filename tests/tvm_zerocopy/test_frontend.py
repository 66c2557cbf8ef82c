"""ONNX import: what is kept, fixed and refused; models are made and checked by onnx itself."""

import gc

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tvm import relax

from tvm_zerocopy.errors import ModelError
from tvm_zerocopy.frontend import import_onnx
from tvm_zerocopy.models import build
from tvm_zerocopy.onnx_file import read_onnx


def small_model(shape=(1, 3, 8, 8), dtype=TensorProto.FLOAT, op="Relu", names=None, domain="", opset=13):
    """One convolution and one operator."""
    weight = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(helper.tensor_dtype_to_np_dtype(dtype))
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["conv"], name="/first/Conv", pads=[1, 1, 1, 1]),
        helper.make_node(op, ["conv"], ["output0"], name="/last/" + op, domain=domain),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info("output0", dtype, None)],
        [numpy_helper.from_array(weight, "weight")],
    )
    imports = [helper.make_opsetid("", opset)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    if names is not None:
        helper.set_model_props(model, {"names": names})
    return model


def with_dangling_input():
    model = small_model()
    model.graph.node[1].input[0] = "nobody makes this"
    return model


def run_relax(module, image):
    built = tvm.relax.build(relax.transform.LegalizeOps()(module), "llvm")
    return relax.VirtualMachine(built, tvm.cpu())["main"](tvm.runtime.tensor(image)).numpy()


def run_onnx(model, image):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: image})[0]


def test_import_computes_what_onnxruntime_computes():
    model = small_model(op="Sigmoid")
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype("float32")
    imported = import_onnx(model)
    np.testing.assert_allclose(run_relax(imported.module, image), run_onnx(model, image), atol=1e-5)


def test_what_the_file_says_of_itself_is_kept(tmp_path):
    model = small_model(names="{0: 'cat', 1: 'traffic light', 2: \"dog's\", 3: 'd'}")
    path = tmp_path / "my model.onnx"
    onnx.save(model, path)
    imported = import_onnx(path)
    assert imported.name == "my model"
    assert (imported.input_name, imported.input_shape, imported.layout) == ("images", (1, 3, 8, 8), "NCHW")
    assert imported.output_names == ("output0",)
    assert imported.class_names == ("cat", "traffic light", "dog's", "d")


def test_a_model_given_as_proto_is_not_changed():
    model = small_model(("batch", 3, "height", "width"), TensorProto.FLOAT16)
    before = model.SerializeToString()
    import_onnx(model, shapes=(1, 3, 16, 16))
    assert model.SerializeToString() == before


@pytest.mark.parametrize("names", ["__import__('os').system('true')", "{0: 'a', 2: 'b'}", "[]", "3", "{", "{0: 1.5}"])
def test_unusable_names_in_the_metadata_are_no_names(names):
    assert import_onnx(small_model(names=names)).class_names is None


def test_float16_models_are_widened_to_float32():
    model = small_model(dtype=TensorProto.FLOAT16, op="Sigmoid")
    image = np.random.default_rng(1).standard_normal((1, 3, 8, 8)).astype("float32")
    imported = import_onnx(model)
    assert imported.module["main"].params[0].ty.dtype == "float32"
    assert "float16" not in imported.module.script()
    assert imported.notes
    expected = run_onnx(model, image.astype("float16"))
    np.testing.assert_allclose(run_relax(imported.module, image), expected, atol=5e-3)


class TestDynamicAxes:
    def test_are_listed_with_the_mend(self):
        model = small_model(("batch", 3, "height", "width"))
        helper.set_model_props(model, {"imgsz": "[384, 640]"})
        with pytest.raises(ModelError) as error:
            import_onnx(model)
        text = str(error.value)
        assert "0 (batch), 2 (height), 3 (width)" in text
        assert "--input-shape 1,3,384,640" in text and "shapes=(1, 3, 384, 640)" in text

    def test_dynamic_batch_alone_follows_the_frame(self):
        assert import_onnx(small_model(("n", 3, 8, 8)), batch=2).input_shape == (2, 3, 8, 8)

    @pytest.mark.parametrize("shapes", [(1, 3, 32, 16), {"images": (1, 3, 32, 16)}])
    def test_are_fixed_by_the_user(self, shapes):
        model = small_model(("batch", 3, "height", "width"))
        imported = import_onnx(model, shapes=shapes)
        assert imported.input_shape == (1, 3, 32, 16)
        assert [int(v) for v in imported.module["main"].ret_ty.shape] == [1, 4, 32, 16]

    @pytest.mark.parametrize(
        "shapes, message",
        [
            ((1, 3, 8), "does not fit"),
            ((1, 3, 9, 8), r"does not fit .*\(any, 3, 8, any\)"),
            ({"picture": (1, 3, 8, 8)}, "'picture'.*'images'"),
            ((1, 3, 8, 0), "at least 1"),
            ((1, 3, 8, "8"), "at least 1"),
        ],
    )
    def test_wrong_shapes_are_refused(self, shapes, message):
        with pytest.raises(ModelError, match=message):
            import_onnx(small_model(("batch", 3, 8, "width")), shapes=shapes)

    def test_reshapes_computed_from_the_shape_become_static(self):
        """As PyTorch exports ``x.view(x.shape[0], -1)`` with dynamic axes: Shape, Gather, Concat, Reshape."""
        nodes = [
            helper.make_node("Shape", ["images"], ["shape"]),
            helper.make_node("Gather", ["shape", "zero"], ["n"], axis=0),
            helper.make_node("Unsqueeze", ["n", "axes"], ["n1"]),
            helper.make_node("Concat", ["n1", "minus"], ["target"], axis=0),
            helper.make_node("Reshape", ["images", "target"], ["output0"]),
        ]
        constants = {"zero": np.array(0), "axes": np.array([0]), "minus": np.array([-1])}
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ("b", 3, "h", "w"))],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ("b", "m"))],
            [numpy_helper.from_array(v.astype("int64"), k) for k, v in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        imported = import_onnx(model, shapes=(1, 3, 4, 6))
        assert [int(v) for v in imported.module["main"].ret_ty.shape] == [1, 72]


@pytest.mark.parametrize(
    "model, message",
    [
        (lambda: small_model(op="Det"), r"Det \(node '/last/Det'\)"),
        (lambda: small_model(op="Frobnicate", domain="com.acme"), r"com.acme.Frobnicate \(node '/last/Frobnicate'\)"),
        (lambda: small_model((1, 1, 8, 8)), "3 channels"),
        (lambda: small_model((3, 8, 8)), "four axes"),
        (lambda: small_model((2, 3, 8, 8)), r"batch is 2 and the frame's is 1; use Frame\(batch=2\)"),
        (lambda: small_model((1, 3, 8, 8), TensorProto.DOUBLE), "'images' is double; it must be a float32"),
        (lambda: small_model(None), "'images' has no shape"),
        (lambda: small_model(opset=999), "opset 999"),
        (lambda: with_dangling_input(), "not valid ONNX"),
        (lambda: small_model(op="Upsample", opset=9), r"Upsample \(node '/last/Upsample'\).*opset 11"),
        (lambda: small_model(op="NonZero"), r"\(of relax.nonzero\) depends on the image's content"),
        (lambda: small_model((1, 3, 40000, 40000)), r"shape \(1, 3, 40000, 40000\), over|shape \(1, 4, 40000, 40000\)"),
        (lambda: 3, "not int"),
    ],
)
def test_models_that_cannot_be_used_say_why(model, message):
    with pytest.raises(ModelError, match=message):
        import_onnx(model())


def test_a_failing_import_says_one_thing_once(capfd):
    """TVM's half-made function would warn of itself on standard error."""
    model = small_model()
    weight = np.zeros((4, 5, 3, 3), np.float32)
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "weight"))
    with pytest.raises(ModelError, match=r"Conv \(node '/first/Conv'\) of the model cannot be imported"):
        import_onnx(model)
    gc.collect()
    assert capfd.readouterr().err == ""


def test_control_flow_is_refused_by_name():
    model = small_model()
    branch = helper.make_graph([], "b", [], [helper.make_tensor_value_info("conv", TensorProto.FLOAT, None)])
    node = helper.make_node("If", ["c"], ["x"], name="/choice", then_branch=branch, else_branch=branch)
    model.graph.node.insert(0, node)
    with pytest.raises(ModelError, match=r"If \(node '/choice'\)"):
        import_onnx(model)


def test_several_inputs_are_listed():
    model = small_model()
    model.graph.input.append(helper.make_tensor_value_info("scale_factor", TensorProto.FLOAT, (1, 2)))
    with pytest.raises(ModelError, match="2 inputs .images, scale_factor.; it must have exactly one"):
        import_onnx(model)


def test_weights_listed_as_inputs_are_no_inputs():
    model = small_model()
    model.graph.input.append(helper.make_tensor_value_info("weight", TensorProto.FLOAT, (4, 3, 3, 3)))
    assert import_onnx(model).input_name == "images"


class TestFiles:
    @pytest.mark.parametrize(
        "content, message",
        [
            (b"", "is empty"),
            (b"hello, this is no model", "not an ONNX model"),
            (b"PK\x03\x04rest", "PyTorch checkpoint"),
            (b"\x7fELF\x02\x01", "compiled library"),
            (b"\xff\xd8\xff\xe0" + bytes(100), "not an ONNX model"),
            (b"\x08\x08", "cut short"),
        ],
    )
    def test_foreign_files_are_named(self, tmp_path, content, message):
        path = tmp_path / "model.onnx"
        path.write_bytes(content)
        with pytest.raises(ModelError, match=message):
            read_onnx(path)

    def test_missing_file_and_directory(self, tmp_path):
        with pytest.raises(ModelError, match="No such file"):
            read_onnx(tmp_path / "absent.onnx")
        with pytest.raises(ModelError, match="is a directory"):
            read_onnx(tmp_path)

    def test_external_data_that_is_missing_is_named(self, tmp_path):
        path = tmp_path / "model.onnx"
        onnx.save(small_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        assert import_onnx(path).input_name == "images"
        (tmp_path / "weights.bin").unlink()
        with pytest.raises(ModelError, match="weights.bin, which is not beside it"):
            read_onnx(path)

    def test_external_data_that_is_cut_short(self, tmp_path):
        path = tmp_path / "model.onnx"
        onnx.save(small_model(), path, save_as_external_data=True, location="weights.bin", size_threshold=0)
        (tmp_path / "weights.bin").write_bytes(b"12")
        with pytest.raises(ModelError):
            import_onnx(path)


MODEL_BYTES = build("yolov5n", size=32).SerializeToString()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, len(MODEL_BYTES) - 1))
def test_a_model_cut_anywhere_is_refused_in_one_line(tmp_path, cut):
    path = tmp_path / "cut.onnx"
    path.write_bytes(MODEL_BYTES[:cut])
    with pytest.raises(ModelError) as error:
        import_onnx(path)
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_model_or_one_clear_error(tmp_path, content):
    path = tmp_path / "noise.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError):
        import_onnx(path)


def test_a_gather_past_the_end_is_refused():
    model = small_model()
    model.graph.node.append(helper.make_node("Gather", ["output0", "index"], ["gathered"], axis=2))
    model.graph.initializer.append(numpy_helper.from_array(np.array([0, 8]), "index"))
    model.graph.output[0].name = "gathered"
    with pytest.raises(ModelError, match="Gather of the model reads at 8 of an axis of 8"):
        import_onnx(model)
