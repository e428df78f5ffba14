"""sahi and supervision run what we train, from the config that the run recorded."""

import json
import sys

import cv2
import numpy as np
import pytest
from helpers.deploy import DETECTION, JOINT, write_config
from mmdet.apis import inference_detector, init_detector
from supervision import Detections

from mbv2_backbone.workbench.api import predict, train

SCORE = 0.3
needs_sahi = pytest.mark.skipif(
    sys.version_info >= (3, 14), reason='the extra dev has no sahi on Python 3.14'
)
MODELS = {
    'boxes': (DETECTION, 'ssdlite_mbv2_sample'),
    'boxes and masks': (JOINT, 'ssdlite-deeplabv3_mbv2_sample'),
}


@pytest.fixture(scope='module', params=MODELS.values(), ids=MODELS)
def trained(request, sample_dataset, tmp_path_factory):
    """The recorded config, the checkpoint, an image, and our prediction on it, as COCO rows."""
    folder = tmp_path_factory.mktemp('trained')
    config, checkpoint, options = write_config(folder, *request.param, sample_dataset)
    options += [f'load_from={checkpoint}', 'train_cfg.max_epochs=1', 'train_cfg.val_interval=9']
    work = folder / 'work'
    train(config, work_dir=work, cfg_options=options)
    photo = folder / 'photo.png'
    cv2.imwrite(str(photo), cv2.imread(str(sample_dataset / 'JPEGImages' / 'val_00001.jpg')))
    recorded, checkpoint = str(next(work.glob('*.py'))), str(work / 'epoch_1.pth')
    predict(recorded, checkpoint, photo, out=folder, score_thr=SCORE)
    rows = [row for row in json.loads((folder / 'predictions.json').read_text()) if 'bbox' in row]
    assert len(rows) > 3
    return recorded, checkpoint, str(photo), rows


def expected_boxes(rows):
    x, y, width, height = np.array([row['bbox'] for row in rows]).T
    return np.stack([x, y, x + width, y + height], 1)


@pytest.fixture(scope='module')
def sahi_model(trained):
    from sahi import AutoDetectionModel

    config, checkpoint, *_ = trained
    return AutoDetectionModel.from_pretrained(
        'mmdet', model_path=checkpoint, config_path=config, confidence_threshold=SCORE, device='cpu'
    )


@needs_sahi
def test_sahi_finds_the_same_boxes(trained, sahi_model):
    from sahi.predict import get_prediction

    *_, photo, rows = trained
    found = get_prediction(photo, sahi_model).object_prediction_list
    boxes = [item.bbox.to_xyxy() for item in found]
    np.testing.assert_allclose(boxes, expected_boxes(rows), atol=0.1)
    scores = [item.score.value for item in found]
    np.testing.assert_allclose(scores, [row['score'] for row in rows], atol=1e-4)
    assert [item.category.id + 1 for item in found] == [row['category_id'] for row in rows]
    assert {item.category.name for item in found} <= {'disc', 'square', 'triangle', 'star'}


@needs_sahi
def test_sahi_predicts_on_slices(trained, sahi_model):
    from sahi.predict import get_sliced_prediction

    photo = trained[2]
    found = get_sliced_prediction(photo, sahi_model, 64, 64, verbose=0).object_prediction_list
    corners = np.array([item.bbox.to_xyxy() for item in found])
    assert len(corners)
    assert corners.min() >= 0
    assert 64 < corners.max() <= 96  # also right of the first slice, and inside of the image


def test_supervision_reads_what_mmdet_predicts(trained):
    config, checkpoint, photo, rows = trained
    result = inference_detector(init_detector(config, checkpoint, device='cpu'), photo)
    found = Detections.from_mmdetection(result)
    found = found[found.confidence >= SCORE]
    np.testing.assert_allclose(found.xyxy, expected_boxes(rows), atol=0.1)
    assert (found.class_id + 1).tolist() == [row['category_id'] for row in rows]
