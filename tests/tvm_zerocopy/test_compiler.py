"""``tz.compile`` against what people run today: OpenCV's letterbox, onnxruntime and numpy's NMS."""

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import tvm_zerocopy as tz
from tvm_zerocopy import embedded
from tvm_zerocopy.errors import ModelError, SpecError, UnsupportedError, ZeroCopyWarning
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.models import build
from tvm_zerocopy.reference import nms

NMS = tz.Nms(conf=0.2)
PICTURES = [cv2.imread(str(path)) for path in embedded.sample_pictures()]


@pytest.fixture(scope="module")
def engine():
    """The embedded detector for bgr8 frames of any size."""
    return tz.compile(embedded.model_path(), postprocess=NMS)


@pytest.fixture(scope="module")
def session():
    return onnxruntime.InferenceSession(str(embedded.model_path()), providers=["CPUExecutionProvider"])


def opencv_letterbox(picture, size):
    """Ultralytics' LetterBox: resize, then pad with 114."""
    height, width = picture.shape[:2]
    ratio = min(size[0] / height, size[1] / width)
    new_width, new_height = max(1, round(width * ratio)), max(1, round(height * ratio))
    dw, dh = (size[1] - new_width) / 2, (size[0] - new_height) / 2
    resized = picture
    if (new_width, new_height) != (width, height):
        resized = cv2.resize(picture, (new_width, new_height), interpolation=cv2.INTER_LINEAR)
    edges = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(resized, *edges, cv2.BORDER_CONSTANT, value=(114, 114, 114))


def expected_detections(session, picture):
    """What OpenCV, onnxruntime and numpy find; also every candidate's score."""
    size = session.get_inputs()[0].shape[2:]
    tensor = opencv_letterbox(picture, size)[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    raw = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(tensor)})[0][0]
    boxes, scores, classes = nms.detect(raw, "yolov5", NMS.conf, NMS.iou, NMS.max_det)
    height, width = picture.shape[:2]
    boxes = unletterbox_boxes(boxes, letterbox(height, width, *size, tz.Preprocess()), height, width)
    return np.reshape(boxes, (-1, 4)), scores, classes, (raw[:, 4:5] * raw[:, 5:]).max(axis=1)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, len(PICTURES) - 1), st.integers(24, 900), st.integers(24, 900), st.booleans(), st.integers(0, 40))
def test_detections_are_those_of_opencv_onnxruntime_and_numpy(engine, session, index, height, width, mirror, padding):
    picture = cv2.resize(PICTURES[index], (width, height), interpolation=cv2.INTER_AREA)
    picture = picture[:, ::-1] if mirror else picture
    rows = np.zeros((height, width + padding, 3), np.uint8)  # rows of a wider surface, as cameras hand them out
    frame = rows[:, :width]
    frame[...] = picture
    boxes, scores, classes, candidates = expected_detections(session, np.ascontiguousarray(picture))
    # Where two orders or a drop are decided by less than both programs' float32 rounding, both are right.
    assume(not np.any(np.abs(candidates - NMS.conf) < 1e-4))
    assume(not np.any(np.abs(np.diff(scores)) < 1e-4))
    found = engine(frame)
    assert found.classes.tolist() == classes.tolist()
    np.testing.assert_allclose(found.scores, scores, atol=1e-3)
    np.testing.assert_allclose(found.boxes, boxes, atol=0.1)


def test_the_comparison_compares_something(engine):
    assert sum(len(engine(picture)) for picture in PICTURES) >= 10


def test_raw_outputs_are_those_of_onnxruntime_on_the_same_tensor(session):
    engine = tz.compile(embedded.model_path(), frame=tz.Frame("bgr8", *PICTURES[0].shape[:2]), postprocess=None)
    (raw,) = engine(PICTURES[0])
    size = session.get_inputs()[0].shape[2:]
    tensor = opencv_letterbox(PICTURES[0], size)[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) / 255
    (expected,) = session.run(None, {session.get_inputs()[0].name: np.ascontiguousarray(tensor)})
    assert list(engine.output_layout) == [session.get_outputs()[0].name]
    np.testing.assert_allclose(raw[..., 4:], expected[..., 4:], atol=1e-4)
    # Box columns are pixels of the model's input: relative to its size.
    np.testing.assert_allclose(raw[..., :4] / max(size), expected[..., :4] / max(size), atol=1e-4)


def test_the_engine_says_what_was_chosen(engine):
    assert engine.frame == tz.Frame("bgr8")
    assert engine.preprocess == tz.Preprocess()
    assert engine.postprocess == tz.Nms(conf=0.2, head="yolov5")
    assert engine.names and engine(PICTURES[0]).names == engine.names


class Stop(Exception):
    """Raised at the first pass, when everything has been decided and nothing compiled."""


def decided(monkeypatch, model, **options):
    """The arguments with which ``compile`` asks for its passes."""
    seen = []

    def pipeline(*arguments):
        seen.extend(arguments)
        raise Stop

    monkeypatch.setattr("tvm_zerocopy.compiler.pipeline", pipeline)
    with pytest.raises(Stop):
        tz.compile(model, **options)
    return seen


@pytest.mark.parametrize("raw", [False, True])
def test_yolox_models_get_their_own_preprocessing(monkeypatch, raw):
    model = build("yolox_nano", size=64)
    postprocess = {"postprocess": None} if raw else {}
    assert decided(monkeypatch, model, **postprocess)[1] == tz.Preprocess.yolox()
    given = tz.Preprocess(scale=1.0)
    assert decided(monkeypatch, model, preprocess=given, **postprocess)[1] == given


def test_nhwc_models_get_nhwc(monkeypatch):
    model = build("yolov5n", size=64)
    transpose = onnx.helper.make_node("Transpose", ["nhwc"], ["images"], perm=[0, 3, 1, 2])
    model.graph.node.insert(0, transpose)
    model.graph.input[0].CopyFrom(onnx.helper.make_tensor_value_info("nhwc", onnx.TensorProto.FLOAT, (1, 64, 64, 3)))
    assert decided(monkeypatch, model)[1] == tz.Preprocess(layout="NHWC")


class TestRefusals:
    """All before anything is compiled."""

    @pytest.fixture(autouse=True)
    def nothing_compiles(self, monkeypatch):
        def pipeline(*_):
            raise AssertionError("compilation began")

        monkeypatch.setattr("tvm_zerocopy.compiler.pipeline", pipeline)

    @pytest.mark.parametrize(
        "options, error, message",
        [
            ({"frame": "nv12"}, SpecError, "frame is 'nv12'; it must be a tvm_zerocopy.Frame"),
            ({"preprocess": {}}, SpecError, "must be a tvm_zerocopy.Preprocess"),
            ({"postprocess": 0.25}, SpecError, "must be a tvm_zerocopy.Nms"),
            ({"precision": "float8"}, UnsupportedError, "precision 'float8' is not supported"),
            ({"target": "llvm -mcpu=z80"}, UnsupportedError, "z80"),
            ({"names": ["a"]}, SpecError, r"1 class names and the model has \d+ classes"),
            ({"names": {1: "a"}}, ModelError, "numbers must be"),
            ({"postprocess": tz.Nms(head="end2end")}, SpecError, "'end2end' does not fit the model"),
            ({"frame": tz.Frame(batch=2)}, ModelError, "the model's batch is 1 and the frame's is 2"),
        ],
    )
    def test_wrong_options(self, options, error, message):
        with pytest.raises(error, match=message):
            tz.compile(embedded.model_path(), **options)

    def test_a_classifier_has_no_head(self):
        with pytest.raises(ModelError, match="postprocess=None"):
            tz.compile(build("resnet18", size=64, classes=4))


@pytest.mark.parametrize(
    "operator, message",
    [
        ("CumSum", "cannot become one program: main calls relax.cumsum .*has no kernel$"),  # no word about passes
        ("Cosh", "cannot be compiled, build fails .InternalError: .*cosh"),
    ],
)
def test_an_operator_that_only_the_importer_knows(operator, message):
    names = ["images", "axis"] if operator == "CumSum" else ["images"]
    tensor, float32 = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node(operator, names, ["output0"])],
        "one",
        [tensor("images", float32, (1, 3, 8, 8))],
        [tensor("output0", float32, (1, 3, 8, 8))],
        [onnx.helper.make_tensor("axis", onnx.TensorProto.INT64, [], [2])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    with pytest.raises(ModelError, match=message) as error:
        tz.compile(model, postprocess=None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "names, message", [(None, "does not name its classes"), ("['a', 'b']", "names 2 classes and has 3")]
)
def test_a_model_without_usable_names_warns_once(monkeypatch, names, message):
    model = build("yolov5n", size=64, classes=3)
    del model.metadata_props[:]
    if names:
        onnx.helper.set_model_props(model, {"names": names})
    with pytest.warns(ZeroCopyWarning, match=message) as caught:
        decided(monkeypatch, model)
    assert len([w for w in caught if w.category is ZeroCopyWarning]) == 1


def test_progress_counts_to_the_end():
    seen = []
    model = build("yolov5n", size=64, classes=3)
    tz.compile(model, frame=tz.Frame("nv12", 64, 64), progress=lambda *step: seen.append(step))
    names, done, total = zip(*seen)
    assert names[0] == "import" and names[-1] == "build" and "FusePreprocess" in names
    assert list(done) == list(range(len(seen))) and set(total[1:]) == {len(seen)}
