"""supervision reads what `Predictor` returns; the format is that of Roboflow's inference."""

import json
from dataclasses import replace

import numpy as np
import supervision
from supervision import Detections

from mbv2_backbone.deploy.predictor import Prediction

BOXES = np.array([[10.5, 20, 50, 60.25], [0, 0, 200, 100], [199, 99, 200, 100]], np.float32)


def prediction(count):
    return Prediction(
        boxes=BOXES[:count],
        scores=np.array([0.9, 0.5, 0.1], np.float32)[:count],
        labels=np.array([2, 0, 1])[:count],
        names=('star', 'disc', 'square')[:count],
        mask=None,
        size_hw=(100, 200),
    )


def test_the_boxes_are_those_of_the_prediction():
    found = Detections.from_inference(prediction(3))
    np.testing.assert_allclose(found.xyxy, BOXES, atol=1e-5)
    np.testing.assert_allclose(found.confidence, [0.9, 0.5, 0.1], rtol=1e-6)
    assert found.class_id.tolist() == [2, 0, 1]
    assert found.data['class_name'].tolist() == ['star', 'disc', 'square']
    drawn = supervision.BoxAnnotator().annotate(np.zeros((100, 200, 3), np.uint8), found)
    assert drawn[40, 10].any()


def test_an_image_without_boxes_gives_none():
    assert len(Detections.from_inference(prediction(0))) == 0
    assert Detections.from_inference(prediction(0)).data['class_name'].dtype.kind == 'U'


def test_the_format_can_be_written_as_json():
    """Centre and size, as https://docs.roboflow.com describes the response of its API."""
    content = json.loads(json.dumps(prediction(1).json()))
    assert content['image'] == dict(width=200, height=100)
    (row,) = content['predictions']
    assert row['class'] == 'star'
    assert [row[key] for key in ('x', 'y', 'width', 'height')] == [30.25, 40.125, 39.5, 40.25]


def test_a_joint_prediction_keeps_its_boxes_beside_the_class_of_the_image():
    mask, probabilities = np.zeros((100, 200), np.uint8), np.float32([0.25, 0.75])
    found = replace(
        prediction(1), mask=mask, probabilities=probabilities, likeliest=(('b', 0.75), ('a', 0.25))
    )
    assert found.json() == prediction(1).json() | dict(top='b', confidence=0.75)
    assert len(Detections.from_inference(found)) == 1
