"""How often a detector's prediction waits for a GPU: where a number of boxes is found."""

import pytest
import torch
from helpers.paths import config_path
from helpers.waiting import waits
from measure.speed.models import build_random, settle_batch_norm
from measure.speed.training import random_batch

from mbv2_backbone.det import postprocess
from mbv2_backbone.workbench.configs.read import load_config, task_of

# The pairs above the score by their priors, and themselves; suppression; which boxes it keeps; how
# many of them each image has.
USUAL = ['nonzero', 'nonzero_numpy', 'nms', 'nonzero', 'tolist']


def waits_of(name, **test_cfg):
    cfg = load_config(config_path(name))
    (cfg.model.test_cfg.get('bbox', cfg.model.test_cfg)).update(test_cfg)
    model = build_random(cfg)
    batch = model.data_preprocessor(random_batch(cfg, task_of(cfg), 3, (64, 64)), False)
    settle_batch_norm(model, lambda: model(batch['inputs'], mode='tensor'))
    with torch.inference_mode():
        model(**batch, mode='predict')  # priors are made once
        with waits() as found:
            samples = model(**batch, mode='predict')
    assert sum(len(sample.pred_instances) for sample in samples) > 3
    return found


@pytest.fixture(autouse=True)
def all_suppressed_at_once(monkeypatch):
    monkeypatch.setattr(postprocess, '_MAX_AT_ONCE', 10**9)


@pytest.mark.parametrize(
    ('name', 'test_cfg', 'expected'),
    [
        ('ssdlite_mbv2_coco', dict(), USUAL),
        ('ssdlite_mbv2_coco_plus', dict(score_thr=1e-5), USUAL),
        ('ssdlite_mbv2_coco_tf', dict(), [*USUAL[:-1], 'nonzero', 'tolist']),  # clips boxes
        ('ssdlite-deeplabv3_mbv2_sample', dict(), USUAL),
        ('ssdlite_mbv2_coco', dict(nms_pre=9), [*USUAL[:2], 'nonzero', *USUAL[2:]]),
        ('ssdlite_mbv2_coco', dict(min_bbox_size=0), [*USUAL[:2], 'nonzero', *USUAL[2:]]),
    ],
)
def test_a_prediction_waits_for_numbers_of_boxes_alone(name, test_cfg, expected):
    test_cfg = dict(nms_pre=-1, min_bbox_size=-1, score_thr=0.013) | test_cfg
    assert waits_of(name, **test_cfg) == expected


def test_a_crowd_is_suppressed_in_parts(monkeypatch):
    monkeypatch.setattr(postprocess, '_MAX_AT_ONCE', 100)
    found = waits_of('ssdlite_mbv2_coco', nms_pre=-1, min_bbox_size=-1, score_thr=0.013)
    assert found[2:4] == ['unique_consecutive', 'tolist']
    assert found.count('nms') > 1
