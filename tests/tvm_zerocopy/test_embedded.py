"""The embedded detector is what its card says, and finds what is on the sample pictures."""

import ast
import json

import cv2
import numpy as np
import onnx
import pytest

from tvm_zerocopy import embedded
from tvm_zerocopy.errors import SourceError
from tvm_zerocopy.models.training import samples
from tvm_zerocopy.models.training.evaluate import Detector, evaluate, match_detections
from tvm_zerocopy.models.training.pool import Pool, draw_one
from tvm_zerocopy.models.training.scene import CLASSES, Scene


@pytest.fixture(scope="module")
def card():
    return json.loads(embedded.model_card().read_text())


@pytest.fixture(scope="module")
def detector():
    return Detector(embedded.model_path().read_bytes())


def test_the_model_is_a_yolov5_with_the_cards_input_and_classes(card):
    model = onnx.load(str(embedded.model_path()))
    onnx.checker.check_model(model, full_check=True)
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    rows, columns = shape[2:]
    assert shape == card["input"]
    boxes = 3 * sum((rows // s) * (columns // s) for s in (8, 16, 32))
    output = [d.dim_value for d in model.graph.output[0].type.tensor_type.shape.dim]
    assert output == [1, boxes, 5 + len(CLASSES)]
    props = {p.key: p.value for p in model.metadata_props}
    assert ast.literal_eval(props["names"]) == dict(enumerate(card["classes"])) == dict(enumerate(CLASSES))


def test_mean_average_precision_on_held_out_scenes_is_the_cards(card):
    seed, rows, columns = card["held out"]["seed"], 288, 512
    assert seed != card["training"]["seed"]
    drawn = [draw_one([seed, i], rows, columns) for i in range(60)]
    pool = Pool(np.stack([picture for picture, _ in drawn]), [target for _, target in drawn])
    measured = evaluate(embedded.model_path().read_bytes(), pool)
    # sixty of the card's scenes: within what such a sample varies by
    assert measured["mAP@0.5"] == pytest.approx(card["held out"]["mAP@0.5"], abs=0.06)
    assert card["held out"]["mAP@0.5"] > 0.8


@pytest.mark.parametrize("number", range(len(samples.PICTURE_SEEDS)))
def test_sample_pictures_are_seen_as_they_were_drawn(detector, number):
    picture = cv2.imread(str(embedded.sample_pictures()[number]))
    assert picture.shape == (samples.ROWS, samples.COLUMNS, 3)
    drawn = Scene(np.random.default_rng(samples.PICTURE_SEEDS[number]), objects=samples.PICTURE_OBJECTS)
    _, boxes, labels = drawn.render(*picture.shape[:2], sensor=False)
    target = np.column_stack([labels, boxes])
    found = detector(picture)
    matched = match_detections(found, target)[:, 0]
    large = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])) > 50
    assert matched.sum() >= 0.75 * large.sum()
    assert matched.mean() >= 0.6


def test_sample_video_has_moving_things_that_are_seen(detector):
    av = pytest.importorskip("av", reason="reads the sample video; pip install tvm-zerocopy[video]")
    with av.open(str(embedded.sample_video())) as container:
        frames = [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]
    assert len(frames) == samples.FPS * samples.SECONDS
    assert frames[0].shape == (samples.VIDEO_ROWS, samples.VIDEO_COLUMNS, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).mean() > 3
    seen = set()
    for frame in frames[::25]:
        found = detector(frame)
        assert len(found) >= 4
        seen |= {CLASSES[int(c)] for c in found[:, 5]}
    assert {"car", "person", "ball", "traffic cone", "stop sign", "traffic light"} <= seen


def test_an_incomplete_installation_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "_DATA", tmp_path)
    for function in (embedded.model_path, embedded.model_card, embedded.sample_pictures, embedded.sample_video):
        with pytest.raises(SourceError, match="reinstall tvm-zerocopy"):
            function()
