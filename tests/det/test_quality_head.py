"""Adaptive matching and the losses of quality against loops, mmdet, torchvision; the head."""

import pytest
import torch
from helpers.boxes import slow_iou
from helpers.networks import randomise
from helpers.ssdlite import features, head_config, random_batch
from mmengine.structures import InstanceData
from torchvision.ops import generalized_box_iou_loss

from mbv2_backbone.det import QualitySSDLiteHead, SSDLiteHead
from mbv2_backbone.det.losses import quality_loss
from mbv2_backbone.det.targets import decode

ASSIGNERS = {
    'MaxIoU': dict(type='MaxIoUAssigner', pos_iou_thr=0.5, neg_iou_thr=0.4),
    'ATSS': dict(type='ATSSAssigner', topk=5),
    'TaskAligned': dict(type='TaskAlignedAssigner', topk=4),
}
each_assigner = pytest.mark.parametrize('assigner', ASSIGNERS.values(), ids=ASSIGNERS.keys())


def head(**train_cfg):
    kwargs = head_config()
    if train_cfg:
        kwargs['train_cfg'] = train_cfg
    return QualitySSDLiteHead(**kwargs)


def test_it_has_the_parameters_and_the_detections_of_ssdlite():
    quality, plain = head().eval(), SSDLiteHead(**head_config()).eval()
    randomise(plain)
    quality.load_state_dict(plain.state_dict())
    samples, x = random_batch(3, seed=0), features(3, 0)
    for ours, theirs in zip(quality.predict(x, samples), plain.predict(x, samples), strict=True):
        assert len(ours) > 0
        torch.testing.assert_close(ours.bboxes, theirs.bboxes)
        torch.testing.assert_close(ours.scores, theirs.scores)


def test_it_begins_with_background():
    torch.manual_seed(0)
    made = head()
    made.init_weights()
    cls_scores, _ = made(features(2, 0))
    background = (
        cls_scores[0].permute(0, 2, 3, 1).reshape(-1, made.cls_out_channels).softmax(-1)[:, -1]
    )
    assert background.mean().item() == pytest.approx(0.99, abs=0.005)


@each_assigner
def test_the_losses_against_the_loop(assigner):
    """Over a batch with an empty image and padding, of the matches that the head made."""
    made = head(assigner=assigner, gamma=1.5, box_weight=3.0, label_smoothing=0.2)
    randomise(made)
    samples = random_batch(3, seed=1, pad_shapes=[(128, 128), (100, 128), (128, 90)])
    cls_scores, bbox_preds = made(features(3, 1))
    seen = []
    targets_of = made._build_targets
    made._build_targets = lambda *args, **kw: seen.append(targets_of(*args, **kw)) or seen[-1]
    gts, metas, ignored = made._unpack(samples)
    got = made.loss_by_feat(cls_scores, bbox_preds, gts, metas, ignored)
    ((labels, targets, weights),) = seen
    logits, deltas = made.flatten_outputs(cls_scores, bbox_preds)
    priors, _ = made.batch_priors(cls_scores, metas)
    bboxes = decode(priors, deltas, **made.coding)
    cls, box, count = 0.0, 0.0, 0
    for i in range(3):
        positives = [p for p in range(len(labels[i])) if labels[i, p] < made.num_classes]
        count += max(1, len(positives))
        quality = torch.zeros(len(labels[i]))
        for p in positives:
            quality[p] = 0.8 * slow_iou(bboxes[i, p].tolist(), targets[i, p].tolist())
            box += 3.0 * generalized_box_iou_loss(bboxes[i, p], targets[i, p]).item()
        losses = quality_loss(logits[i][None], labels[i][None], quality[None], gamma=1.5)[0]
        cls += (losses * weights[i]).sum().item()
    assert (weights == 0).any()
    assert got['loss_cls'].item() == pytest.approx(cls / count, rel=1e-4)
    assert got['loss_bbox'].item() == pytest.approx(box / count, rel=1e-4)


def test_matches_of_iou_are_those_of_ssdlite():
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


def test_smooth_l1_is_that_of_ssdlite():
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
def test_empty_images_push_every_score_down(crowds, assigner):
    made = head(assigner=assigner | dict(ignore_iof_thr=0.3 if crowds else -1))
    randomise(made)
    (sample,) = random_batch(3, seed=0)[2:]
    assert len(sample.gt_instances) == 0
    losses = made.loss(features(1, 0), [sample])
    assert losses['loss_bbox'] == 0
    assert losses['loss_cls'] > 0
    losses['loss_cls'].backward()
    assert all(conv[-1].weight.grad.isfinite().all() for conv in made.cls_convs)


def test_boxes_that_no_loss_can_take_are_left_out():
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


@each_assigner
def test_it_learns_the_boxes_of_a_batch(assigner):
    torch.manual_seed(0)
    made = head(assigner=assigner)
    made.init_weights()
    samples, x = random_batch(2, seed=3, crowds=False), features(2, 3)
    optimizer = torch.optim.AdamW(made.parameters(), lr=0.01)
    totals = []
    for _ in range(150):
        losses = made.loss(x, samples)
        totals.append(losses['loss_bbox'].item())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    found = made.predict(x, samples)
    for sample, result in zip(samples, found, strict=True):
        gt = sample.gt_instances
        kept = result[result.scores > 0.3]
        hits = [
            any(
                slow_iou(box, other) > 0.5 and label == other_label
                for other, other_label in zip(
                    kept.bboxes.tolist(), kept.labels.tolist(), strict=True
                )
            )
            for box, label in zip(gt.bboxes.tolist(), gt.labels.tolist(), strict=True)
        ]
        assert sum(hits) >= 0.5 * len(hits)
    assert totals[-1] < 0.5 * totals[0]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_the_loss_is_float32_whatever_the_features(dtype):
    made = head()
    cls_scores, bbox_preds = made(features(2, 0))
    samples = random_batch(2, seed=0)
    gts, metas, ignored = made._unpack(samples)
    losses = made.loss_by_feat(
        [level.to(dtype) for level in cls_scores],
        [level.to(dtype) for level in bbox_preds],
        gts,
        metas,
        ignored,
    )
    assert all(value.dtype == torch.float32 and value.isfinite() for value in losses.values())


def test_another_box_loss_is_refused():
    with pytest.raises(ValueError, match='one of giou, smooth_l1, got iou'):
        head(box_loss='iou')


def test_another_assigner_is_refused():
    with pytest.raises(ValueError, match=r'one of MaxIoUAssigner, .* got SimOTAAssigner'):
        head(assigner=dict(type='SimOTAAssigner'))
