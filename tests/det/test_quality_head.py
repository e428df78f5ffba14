"""Quality focal loss against loops and torchvision, and the head that uses it."""

from functools import partial

import pytest
import torch
from helpers.networks import randomise
from helpers.quality import build_head, check_empty_image, check_learning, check_losses
from helpers.ssdlite import features, head_config, random_batch, truth_of
from mmengine.structures import InstanceData

from mbv2_backbone.det import QualitySSDLiteHead, SSDLiteHead

ASSIGNER = dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4)


head = partial(build_head, QualitySSDLiteHead)


def test_the_head_has_the_parameters_and_detections_of_ssdlite():
    quality, plain = head().eval(), SSDLiteHead(**head_config()).eval()
    randomise(plain)
    quality.load_state_dict(plain.state_dict())
    samples, x = random_batch(3, seed=0), features(3, 0)
    for ours, theirs in zip(quality.predict(x, samples), plain.predict(x, samples), strict=True):
        assert len(ours) > 0
        torch.testing.assert_close(ours.bboxes, theirs.bboxes)
        torch.testing.assert_close(ours.scores, theirs.scores)


def test_the_head_begins_with_background():
    torch.manual_seed(0)
    made = head()
    made.init_weights()
    cls_scores, _ = made(features(2, 0))
    background = (
        cls_scores[0].permute(0, 2, 3, 1).reshape(-1, made.cls_out_channels).softmax(-1)[:, -1]
    )
    assert background.mean().item() == pytest.approx(0.99, abs=0.005)


def test_iou_matching_equals_ssdlites():
    x, samples = features(4, 2), random_batch(4, seed=2)
    plain, quality = SSDLiteHead(**head_config()), head()
    seen = []
    for made in (plain, quality):
        build = made._build_targets
        made._build_targets = lambda *a, f=build, **kw: seen.append(f(*a, **kw)) or seen[-1]
        made.loss(x, samples)
    (labels, _, weights), (others, _, other_weights) = seen
    assert torch.equal(labels, others)
    assert torch.equal(weights, other_weights)


def test_invalid_boxes_are_left_out_of_the_loss():
    made = head().eval()
    randomise(made)
    x = features(1, 0)
    (sample,) = random_batch(1, seed=0)
    clean = made.loss(x, [sample])
    bad = torch.tensor([[float('nan'), 0, 9, 9], [5, 5, 5, 9], [9, 9, 3, 3]])
    gt = sample.gt_instances
    sample.gt_instances = InstanceData(
        bboxes=torch.cat([gt.bboxes, bad]), labels=torch.cat([gt.labels, torch.zeros(3).long()])
    )
    for key, value in made.loss(x, [sample]).items():
        torch.testing.assert_close(value, clean[key])


def test_the_losses_against_the_loop():
    check_losses(head(assigner=ASSIGNER, gamma=1.5, box_weight=3.0), gamma=1.5, box_weight=3.0)


@pytest.mark.parametrize('crowds', [False, True])
def test_empty_images_lower_every_score(crowds):
    check_empty_image(head(assigner=ASSIGNER | dict(ignore_iof_thr=0.3 if crowds else -1)))


def test_the_head_learns_the_boxes_of_a_batch():
    torch.manual_seed(0)
    check_learning(head(assigner=ASSIGNER))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_loss_is_float32_whatever_the_features(dtype):
    made = head()
    cls_scores, bbox_preds = made(features(2, 0))
    samples = random_batch(2, seed=0)
    gts, metas, ignored = truth_of(samples)
    losses = made.loss_by_feat(
        [level.to(dtype) for level in cls_scores],
        [level.to(dtype) for level in bbox_preds],
        gts,
        metas,
        ignored,
    )
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


@pytest.mark.parametrize('name', ['ATSSAssigner', 'SimOTAAssigner'])
def test_another_assigner_is_refused(name):
    with pytest.raises(ValueError, match=f'one of MaxIoUAssigner, got {name}'):
        head(assigner=dict(type=name))


def test_sigmoids_are_refused():
    with pytest.raises(ValueError, match='trained with a softmax; leave out use_sigmoid'):
        QualitySSDLiteHead(**head_config(), use_sigmoid=True)
