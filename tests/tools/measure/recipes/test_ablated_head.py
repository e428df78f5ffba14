"""The ablation head: every option, and its default equals the plain head."""

from functools import partial

import pytest
import torch
from helpers.networks import randomise
from helpers.quality import build_head, check_empty_image, check_learning, check_losses
from helpers.ssdlite import features, head_config, random_batch
from measure.recipes.ablated_head import AblatedQualityHead

from mbv2_backbone.det import QualitySSDLiteHead, SSDLiteHead

ASSIGNERS = {
    'MaxIoU': dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4),
    'ATSS': dict(type='ATSSAssigner', topk=5),
    'TaskAligned': dict(type='TaskAlignedAssigner', topk=4),
}
each_assigner = pytest.mark.parametrize('assigner', ASSIGNERS.values(), ids=ASSIGNERS.keys())


head = partial(build_head, AblatedQualityHead)


def test_the_default_equals_the_plain_head():
    plain, made = QualitySSDLiteHead(**head_config()), head()
    randomise(plain)
    made.load_state_dict(plain.state_dict())
    x, samples = features(3, 0), random_batch(3, seed=0)
    for key, value in plain.loss(x, samples).items():
        torch.testing.assert_close(made.loss(x, samples)[key], value)


@each_assigner
def test_the_losses_against_the_loop(assigner):
    made = head(assigner=assigner, gamma=1.5, box_weight=3.0, label_smoothing=0.2)
    check_losses(made, gamma=1.5, box_weight=3.0, smoothing=0.2)


def test_smooth_l1_equals_ssdlites():
    x, samples = features(3, 2), random_batch(3, seed=2)
    kwargs = head_config()
    kwargs['train_cfg'] = kwargs['train_cfg'] | dict(smoothl1_beta=0.3)
    plain = SSDLiteHead(**kwargs)
    randomise(plain)
    quality = head(**kwargs['train_cfg'], box_loss='smooth_l1', box_weight=3.0)
    quality.load_state_dict(plain.state_dict())
    expected = plain.loss(x, samples)['loss_bbox']
    assert expected > 0
    torch.testing.assert_close(quality.loss(x, samples)['loss_bbox'], 3 * expected)


@each_assigner
@pytest.mark.parametrize('crowds', [False, True])
def test_empty_images_lower_every_score(crowds, assigner):
    check_empty_image(head(assigner=assigner | dict(ignore_iof_thr=0.3 if crowds else -1)))


@each_assigner
def test_the_head_learns_the_boxes_of_a_batch(assigner):
    torch.manual_seed(0)
    check_learning(head(assigner=assigner))


def test_another_box_loss_is_refused():
    with pytest.raises(ValueError, match='one of giou, smooth_l1, got iou'):
        head(box_loss='iou')


def test_another_assigner_is_refused():
    with pytest.raises(ValueError, match=r'one of MaxIoUAssigner, .* got SimOTAAssigner'):
        head(assigner=dict(type='SimOTAAssigner'))
