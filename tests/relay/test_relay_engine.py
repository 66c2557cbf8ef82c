"""The engine on Relay: compiled, bound, exported and loaded as on Relax, with nothing allocated or copied a frame."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
import tvm
from head_cases import threshold
from preprocess_frames import random_frame
from tuning_models import SIZE as SMALL
from tuning_models import small_onnx

import tvm_zerocopy as tz
from tvm_zerocopy import models
from tvm_zerocopy.cli import main
from tvm_zerocopy.errors import ArtifactError, BufferError, ModelError, UnsupportedError
from tvm_zerocopy.geometry import letterbox, unletterbox_boxes
from tvm_zerocopy.reference import nms as reference
from tvm_zerocopy.reference import preprocess as reference_image
from tvm_zerocopy.tuning.relay.autotvm import AutoTvm

SIZE = (64, 96)  # height, width of the model's input


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    found = tmp_path_factory.mktemp("model") / "yolov5n.onnx"
    onnx.save(models.build("yolov5n", size=SIZE, classes=3), str(found))
    return found


def expected(path, frame, arrays, nms):
    """Boxes, scores and classes by onnxruntime and the numpy references."""
    height, width = frame.size_of(arrays[0].shape)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    image = reference_image(arrays, frame, tz.Preprocess(), SIZE)
    (raw,) = session.run(None, {session.get_inputs()[0].name: image})
    boxes, scores, classes = reference.detect(raw[0], "yolov5", nms.conf, nms.iou, nms.max_det, input_size=SIZE)
    geometry = letterbox(height, width, *SIZE, tz.Preprocess())
    xyxy = unletterbox_boxes(boxes.astype(float), geometry, height, width)
    return np.reshape(xyxy, (-1, 4)), scores, classes


@pytest.fixture(scope="module")
def nms(path):
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    frame = tz.Frame("bgr8")
    image = reference_image(random_frame(frame, 120, 161), frame, tz.Preprocess(), SIZE)
    (raw,) = session.run(None, {session.get_inputs()[0].name: image})
    _, scores, _ = reference.decode(raw[0], "yolov5", SIZE)
    return tz.Nms(conf=threshold(scores.max(axis=1)), max_det=50)


@pytest.fixture(scope="module")
def engine(path, nms):
    return tz.compile(str(path), frame=tz.Frame("bgr8"), postprocess=nms, names=["a", "b", "c"])


@pytest.fixture(scope="module")
def artifact(engine, tmp_path_factory):
    return engine.export(str(tmp_path_factory.mktemp("artifact") / "yolov5n.so"))


@pytest.mark.parametrize("height, width", [(120, 161), (64, 96), (90, 140)])
def test_any_frame_to_boxes(engine, path, nms, height, width):
    arrays = random_frame(engine.frame, height, width)
    found = engine(arrays[0])
    boxes, scores, classes = expected(path, engine.frame, arrays, nms)
    assert len(boxes) > 0
    np.testing.assert_array_equal(found.classes, classes)
    np.testing.assert_allclose(found.scores, scores, atol=1e-4)
    np.testing.assert_allclose(found.boxes, boxes, atol=0.1)


def test_bindings_read_and_write_where_the_caller_has_it(engine):
    """Two bindings side by side, on padded frames at an odd address, without touching each other."""
    memory = np.zeros((2, 50, 110, 3), np.uint8)
    frames = [memory[i, :, 5:105] for i in range(2)]
    bound = [engine.bind(input=frame, output=engine.allocate_output()) for frame in frames]
    for seed in range(2):
        for frame in frames:
            seed += 1
            frame[...] = random_frame(engine.frame, 50, 100, seed)[0]
        for binding, frame in zip(bound, frames):
            binding.run()
            found, alone = binding.detections(), engine(np.ascontiguousarray(frame))
            np.testing.assert_array_equal(found.boxes, alone.boxes)
            np.testing.assert_array_equal(found.scores, alone.scores)
    for binding in bound:
        binding.close()
    with pytest.raises(BufferError, match="closed"):
        bound[0].run()


def test_outputs_at_an_address_that_the_executor_refuses(engine):
    whole = engine.allocate_output()
    shifted = np.zeros(whole.nbytes + 64, np.uint8)
    shifted = shifted[(-shifted.ctypes.data % 64) + 16 :][: whole.nbytes]
    with pytest.raises(BufferError, match="16 bytes past a boundary of 64; align it") as error:
        engine.bind(input=np.zeros((50, 100, 3), np.uint8), output=shifted)
    assert "\n" not in str(error.value)


def test_an_artifact_is_the_same_engine(engine, artifact):
    loaded = tz.load(str(artifact))
    (frame,) = random_frame(engine.frame, 120, 161)
    for found, alone in zip(vars(loaded(frame)).values(), vars(engine(frame)).values()):
        np.testing.assert_array_equal(found, alone)
    assert (loaded.frame, loaded.postprocess, loaded.names) == (engine.frame, engine.postprocess, ("a", "b", "c"))


def test_a_damaged_artifact_is_refused(artifact, tmp_path):
    data = bytearray(artifact.read_bytes())
    data[5000] ^= 1
    (tmp_path / "bad.so").write_bytes(data)
    with pytest.raises(ArtifactError, match="is damaged"):
        tz.load(str(tmp_path / "bad.so"))


def test_a_frame_allocates_and_copies_nothing(artifact, monkeypatch, capsys):
    """On one thread: this vendor's build has OpenMP instead of TVM's pool, and libgomp allocates its teams."""
    monkeypatch.setenv("TVM_NUM_THREADS", "1")
    assert main(["audit", str(artifact), "--frames", "5", "--json", "-"]) == 0
    output = capsys.readouterr()
    assert "analysis and measurement agree" in output.err
    assert '"allocations": 0' in output.out and '"copies": 0' in output.out


def test_the_report_lists_weights_memory_and_moves(engine):
    rows = engine.metadata["copy_report"]["rows"]
    assert {row["reason"] for row in rows} >= {"input", "output", "weights", "intermediate"}
    assert [row["bytes"] for row in rows if row["reason"] == "input"] == [None]  # any size
    (weights,) = [row["bytes"] for row in rows if row["reason"] == "weights"]
    assert 6e6 < weights < 9e6  # 1.8 million float32 parameters, filters padded to channel blocks
    assert not any(row["action"] == "allocated" for row in rows)


def test_kernel_times_are_tvms_own_affair(engine):
    with pytest.raises(UnsupportedError, match="debug_executor"):
        engine.time_kernels(np.zeros((50, 100, 3), np.uint8))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return small_onnx(tmp_path_factory.mktemp("small") / "small.onnx")


def test_raw_outputs(small):
    frame = tz.Frame("nv12", 30, 40)
    engine = tz.compile(str(small), frame=frame, postprocess=None)
    arrays = random_frame(frame, 30, 40)
    session = onnxruntime.InferenceSession(str(small), providers=["CPUExecutionProvider"])
    (raw,) = session.run(None, {"image": reference_image(arrays, frame, tz.Preprocess(), SMALL)})
    np.testing.assert_allclose(engine(arrays[0])[0], raw, atol=1e-5)


@pytest.mark.parametrize("both", [False, True], ids=["the view", "both"])
@pytest.mark.filterwarnings("ignore:result .*a kernel that copies it")
def test_an_output_that_is_a_view_of_another_tensor(tmp_path, small, both):
    """A reshape at the end is no kernel: the tensor in front of it must land in the caller's memory, once or twice."""
    model = onnx.load(str(small))
    last = model.graph.output[0].name
    shape = onnx.numpy_helper.from_array(np.array([1, -1], np.int64), "shape")
    model.graph.initializer.append(shape)
    model.graph.node.append(onnx.helper.make_node("Reshape", [last, "shape"], ["flat"]))
    count = 16 * SMALL[0] * SMALL[1]
    model.graph.output.append(onnx.helper.make_tensor_value_info("flat", onnx.TensorProto.FLOAT, [1, count]))
    if not both:
        del model.graph.output[0]
    path = tmp_path / "flat.onnx"
    onnx.save(model, str(path))
    frame = tz.Frame("bgr8", 30, 40)
    engine = tz.compile(str(path), frame=frame, postprocess=None)
    (array,) = random_frame(frame, 30, 40)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    raw = session.run(None, {"image": reference_image(array, frame, tz.Preprocess(), SMALL)})
    bound = engine.bind(input=array)
    bound.run()
    for found, expected in zip(bound.detections(), raw):
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_tuning_log_is_applied_and_named(small, tmp_path, monkeypatch):
    monkeypatch.setattr("tvm_zerocopy.tuning.catalog.PUBLISHED", tmp_path / "no log here")
    words = ["tune", str(small), "--tuner", "autotvm", "--trials", "20", "--work-dir", str(tmp_path)]
    assert main(words) == 0
    frame = tz.Frame("bgr8", 30, 40)
    tuned, stock = (
        tz.compile(str(small), frame=frame, postprocess=None, tuning_log=log) for log in (str(tmp_path), None)
    )
    assert tuned.metadata["tuning"]["line"] == f"autotvm log {tmp_path.name}: 2 of 2 kernels"
    assert "TVM's own schedules" in stock.metadata["tuning"]["line"]
    assert len(AutoTvm().read(tmp_path).records) == 20
    (array,) = random_frame(frame, 30, 40)
    np.testing.assert_allclose(tuned(array)[0], stock(array)[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("log", [True, False])
def test_what_is_not_tuned_is_said_once(small, log, tmp_path, monkeypatch, caplog):
    """In the engine's own line; TVM 0.18 warns of each operator in many lines, hhb-tvm notes them for debugging."""
    monkeypatch.setattr("tvm_zerocopy.tuning.catalog.PUBLISHED", tmp_path / "no log here")
    monkeypatch.setattr(tvm.autotvm.task.DispatchContext, "warning_messages", set())  # what was said before
    monkeypatch.setattr(tvm.autotvm.task.DispatchContext, "current", tvm.autotvm.FallbackContext())
    logger = logging.getLogger("autotvm")
    monkeypatch.setattr(logger, "handlers", [caplog.handler])
    caplog.set_level(logging.DEBUG, "autotvm")
    tvm.autotvm.DispatchContext.current.query(tvm.target.Target("llvm"), ("something", 1))
    assert "Cannot find config" in caplog.text  # the warnings are heard here
    caplog.clear()
    (tmp_path / "autotvm.log").write_text("")
    engine = tz.compile(str(small), postprocess=None, tuning_log=str(tmp_path) if log else None)
    assert "kernels" in engine.metadata["tuning"]["line"] or "TVM's own" in engine.metadata["tuning"]["line"]
    assert caplog.records == []
    assert not tvm.autotvm.GLOBAL_SCOPE.silent  # the owner's own builds warn as ever


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"target": "cuda -arch=sm_72"}, UnsupportedError, "USE_CUDA=ON"),
        ({"precision": "float16"}, UnsupportedError, "float16"),
        ({"tuning_log": "missing"}, ArtifactError, "is not a tuning log"),
        ({"postprocess": tz.Nms()}, ModelError, "head"),
    ],
)
def test_what_cannot_be_is_one_clear_line(small, options, error, message):
    with pytest.raises(error, match=message) as raised:
        tz.compile(str(small), **{"postprocess": None, **options})
    assert "\n" not in str(raised.value)
