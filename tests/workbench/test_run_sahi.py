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


def assert_same_boxes(boxes, labels, scores, rows):
    """Compare by score, class and place: boxes of nearly equal scores may come in another order."""
    assert len(boxes) == len(rows)
    x, y, width, height = np.array([row['bbox'] for row in rows]).T
    expected = np.stack([x, y, x + width, y + height], 1)
    is_same = (np.abs(np.array(boxes)[:, None] - expected) < 0.1).all(-1)
    is_same &= np.array(labels)[:, None] + 1 == [row['category_id'] for row in rows]
    is_same &= np.abs(np.array(scores)[:, None] - [row['score'] for row in rows]) < 1e-4
    assert is_same.any(0).all()
    assert is_same.any(1).all()


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
    labels = [item.category.id for item in found]
    assert_same_boxes(boxes, labels, [item.score.value for item in found], rows)
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
    assert_same_boxes(found.xyxy, found.class_id, found.confidence, rows)
