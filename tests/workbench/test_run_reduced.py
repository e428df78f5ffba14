"""Predictions on photos that are decoded at a fraction of their size."""

import json

import cv2
import numpy as np
import pytest
import torch
from helpers.networks import randomise
from helpers.small import write_small_config
from mmengine.registry import MODELS

from mbv2_backbone.annotations.images import read_reduced
from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict.file_predictor import FilePredictor
from mbv2_backbone.workbench.predict.predict import predict


@pytest.fixture
def untrained(sample_dataset, tmp_path):
    config = write_small_config(tmp_path / 'small.py', sample_dataset)
    model = randomise(MODELS.build(load_config(str(config)).model))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'a.pth')
    return config, tmp_path / 'a.pth'


def test_boxes_are_those_of_the_small_image_in_pixels_of_the_photo(untrained, tmp_path, rng):
    config, checkpoint = untrained
    folder = tmp_path / 'photos'
    folder.mkdir()
    for i in range(3):
        clouds = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
        photo = cv2.resize(clouds, (1200 + 40 * i, 1600), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f'{i}.jpg'), photo)
    predict(
        config, checkpoint, folder, out=tmp_path / 'out', score_thr=0.0, draw=False, reduced=True
    )
    rows = json.loads((tmp_path / 'out' / 'predictions.json').read_text())
    predictor = FilePredictor(load_config(str(config)), str(checkpoint), score_thr=0.0)
    for i in range(3):
        small, (width, height) = read_reduced(folder / f'{i}.jpg', predictor.input_wh)
        assert small.shape[:2] == (200, 150 + 5 * i)
        found = predictor([small])[0].pred_instances
        boxes = np.array([row['bbox'] for row in rows if row['image_id'] == i])
        assert len(boxes) == len(found) > 0
        assert width / small.shape[1] == height / small.shape[0] == 8
        xyxy = found.bboxes.numpy() * 8
        expected = np.hstack([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]])
        np.testing.assert_allclose(boxes, expected, atol=0.1)


def test_drawings_need_the_whole_photo(untrained, sample_dataset, tmp_path):
    with pytest.raises(UserError, match='--no-draw'):
        predict(*untrained, sample_dataset / 'JPEGImages', out=tmp_path / 'out', reduced=True)
