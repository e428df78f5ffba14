"""Benchmark: our models, the peers and their inputs."""

import numpy as np
import pytest
import torch
from helpers.bench import SIZE, config
from measure.speed.complexity import PARTS, count_model
from measure.speed.inputs import random_boxes, training_batch
from measure.speed.models import (
    build_random,
    class_counts,
    input_size,
    quiet,
    set_candidates,
    set_size,
    settle_batch_norm,
)
from measure.speed.peers import (
    check_peers,
    fix_head,
    folded_sequentials,
    peer_config,
    stock_config,
    timm_backbone,
    torchvision_backbone,
)
from mmengine.logging import MMLogger
from torch import nn

from mbv2_backbone.common.messages import UserError

pytestmark = pytest.mark.runtime


def test_quiet_ends(log):
    logger = MMLogger.get_current_instance()
    logger.warning('before')
    with quiet():
        logger.warning('within')
    logger.warning('after')
    assert log == ['before', 'after']


@pytest.mark.parametrize(
    ('name', 'size', 'params', 'madds'),
    [
        ('ssdlite_mbv2_coco', (320, 320), 4.337, 0.818),
        ('deeplabv3_mbv2_voc12aug', (513, 513), 2.114, 2.826),
        ('ssdlite-deeplabv3_mbv2_sample', (128, 128), None, None),
    ],
)
def test_complexity_of_ours(name, size, params, madds):
    cfg = config(name)
    assert input_size(cfg) == size
    model = build_random(cfg)
    counts = count_model(model, size)
    assert counts['params'] == sum(p.numel() for p in model.parameters())
    for what in ('params', 'madds'):
        assert sum(counts[f'{part} {what}'] for part in PARTS) == counts[what]
    if params:
        assert round(counts['params'] / 1e6, 3) == params
        assert round(counts['madds'] / 1e9, 3) == madds


def test_complexity_of_the_peers_is_as_published():
    theirs = peer_config('mmdet', config('ssdlite_mbv2_coco'), (320, 320))
    counts = count_model(build_random(theirs, 'mmdet'), (320, 320))
    assert round(counts['params'] / 1e6, 3) == 4.229
    assert round(counts['madds'] / 1e9, 3) == 0.774
    theirs = peer_config('mmseg', config('deeplabv3_mbv2_voc12aug'), (513, 513))
    counts = count_model(build_random(theirs, 'mmseg'), (513, 513))
    assert round(counts['params'] / 1e6, 2) == 18.60
    assert round(counts['madds'] / 1e9, 2) == 77.37


def test_folding_torchvisions_backbone_changes_nothing():
    x = torch.randn(2, 3, *SIZE)
    model = torchvision_backbone(0.5)
    settle_batch_norm(model, lambda: model(x))
    with torch.no_grad():
        expected = model(x)
        folded = folded_sequentials(model)
        assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
        torch.testing.assert_close(folded(x), expected, rtol=1e-3, atol=2e-3)


def test_settled_batch_norms_have_the_statistics_of_the_input():
    norm = nn.BatchNorm2d(3, momentum=0.01)
    x = torch.randn(4, 3, 8, 8) * 5 + 2
    settle_batch_norm(norm, lambda: norm(x))
    torch.testing.assert_close(norm.running_mean, x.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, x.var((0, 2, 3)))
    assert norm.momentum == 0.01
    assert not norm.training


@pytest.mark.parametrize(('background', 'bias'), [(0, True), (4, True), (None, True)])
def test_the_number_of_candidates_is_as_requested(background, bias):
    x = torch.randn(3, 8, 10, 10)
    convs = [nn.Conv2d(8, 3 * 5, 1, bias=bias), nn.Conv2d(8, 2 * 5, 1, bias=bias)]
    set_candidates(
        convs,
        lambda: [conv(x) for conv in convs],
        num_outputs=5,
        background=background,
        score_thr=0.1,
        count=40,
    )
    found = 0
    with torch.no_grad():
        for conv in convs:
            for cell in conv(x).permute(0, 2, 3, 1).reshape(-1, 5):
                if background is None:
                    scores = cell.sigmoid().tolist()
                else:
                    scores = cell.softmax(0).tolist()
                    del scores[background]
                found += sum(score > 0.1 for score in scores)
    assert found / 3 == pytest.approx(40, abs=1)


def test_pretrained_weights_are_left_out():
    cfg = config('deeplabv3_mbv2_voc12aug')
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'
    build_random(cfg)  # would fetch them
    assert cfg.model.backbone.init_cfg.type == 'Pretrained'


def test_class_counts_and_sizes():
    assert class_counts(config('ssdlite_mbv2_coco')) == (80, 0)
    assert class_counts(config('deeplabv3_mbv2_voc12aug')) == (0, 21)
    assert class_counts(config('ssdlite-deeplabv3_mbv2_sample')) == (4, 5)
    cfg = config('deeplabv3_mbv2_voc12aug')
    set_size(cfg, (96, 64))
    assert input_size(cfg) == input_size(cfg, training=True) == (96, 64)
    cfg = stock_config('mmdet', 'ssd/ssdlite_mobilenetv2-scratch_8xb24-600e_coco.py')
    set_size(cfg, (96, 64))
    assert input_size(cfg) == (96, 64)
    assert input_size(cfg, (1, 2)) == (1, 2)


def test_models_without_a_counterpart_are_refused():
    det, seg = config('ssdlite_mbv2_coco'), config('deeplabv3_mbv2_voc12aug')
    for cfg, peer in ((det, 'mmseg'), (seg, 'mmdet'), (det, 'timm')):
        with pytest.raises(UserError, match=f'{peer} has nothing to compare'):
            check_peers(cfg, [peer], ('mmdet', 'mmseg', 'torchvision'), 'train')
    with pytest.raises(UserError, match='not installed'):
        stock_config('mmdet', 'ssd/none.py')


def test_timm_has_the_widths_it_has():
    assert len(timm_backbone(0.5)(torch.zeros(1, 3, *SIZE))) == 5
    with pytest.raises(UserError, match='timm has no mobilenetv2_025'):
        timm_backbone(0.25)


def test_mmdets_head_is_fixed_and_ours_left_alone():
    cfg = config('ssdlite_mbv2_coco')
    theirs = build_random(peer_config('mmdet', cfg, SIZE), 'mmdet')
    assert len(fix_head(theirs)) == 1
    assert theirs.bbox_head.loss_cls is None
    assert fix_head(build_random(cfg)) == []


@pytest.mark.parametrize('task', ['det', 'seg', 'joint'])
def test_random_batches_have_the_form_of_loaders(task):
    kwargs = dict(batch_size=3, size=(40, 64), num_classes=4, num_seg_classes=5, task=task)
    batch, again = training_batch(**kwargs), training_batch(**kwargs)
    assert len(batch['inputs']) == len(batch['data_samples']) == 3
    for image, same, sample in zip(
        batch['inputs'], again['inputs'], batch['data_samples'], strict=True
    ):
        assert (image.shape, image.dtype) == ((3, 40, 64), torch.uint8)
        assert torch.equal(image, same)
        assert image.float().std() > 20
        assert ('gt_instances' in sample, 'gt_sem_seg' in sample) == (task != 'seg', task != 'det')
        if task != 'seg':
            assert int(sample.gt_instances.labels.min()) >= 0
            assert int(sample.gt_instances.labels.max()) < 4


def test_random_boxes_lie_in_the_image():
    boxes = random_boxes(np.random.default_rng(0), (48, 64), 500)
    assert boxes.min() >= 0
    assert (boxes[:, 2:] > boxes[:, :2] + 1).all()
    assert (boxes[:, 2] <= 64).all()
    assert (boxes[:, 3] <= 48).all()
    assert random_boxes(np.random.default_rng(0), (48, 64), 0).shape == (0, 4)
