"""Checks that every head with a quality loss has to pass."""

import pytest
import torch
from helpers.boxes import slow_iou
from helpers.networks import randomise
from helpers.ssdlite import features, head_config, random_batch, truth_of
from torchvision.ops import generalized_box_iou_loss

from mbv2_backbone.det.losses import quality_loss
from mbv2_backbone.det.targets import decode


def build_head(head_class, **train_cfg):
    """Build a head; without `train_cfg`, with that of the tests of SSDLite."""
    kwargs = head_config()
    if train_cfg:
        kwargs['train_cfg'] = train_cfg
    return head_class(**kwargs)


def check_losses(made, *, gamma, box_weight, smoothing=0.0):
    """Compare with a loop over the head's own matches; an image is empty, and some are padded."""
    randomise(made)
    samples = random_batch(3, seed=1, pad_shapes=[(128, 128), (100, 128), (128, 90)])
    cls_scores, bbox_preds = made(features(3, 1))
    seen = []
    targets_of = made._build_targets
    made._build_targets = lambda *args, **kw: seen.append(targets_of(*args, **kw)) or seen[-1]
    gts, metas, ignored = truth_of(samples)
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
            quality[p] = (1 - smoothing) * slow_iou(bboxes[i, p].tolist(), targets[i, p].tolist())
            box += box_weight * generalized_box_iou_loss(bboxes[i, p], targets[i, p]).item()
        losses = quality_loss(logits[i][None], labels[i][None], quality[None], gamma=gamma)[0]
        cls += (losses * weights[i]).sum().item()
    assert (weights == 0).any()
    assert got['loss_cls'].item() == pytest.approx(cls / count, rel=1e-4)
    assert got['loss_bbox'].item() == pytest.approx(box / count, rel=1e-4)


def check_empty_image(made):
    """An empty image has no box loss, and its gradient lowers the scores."""
    randomise(made)
    (sample,) = random_batch(3, seed=0)[2:]
    assert len(sample.gt_instances) == 0
    losses = made.loss(features(1, 0), [sample])
    assert losses['loss_bbox'] == 0
    assert losses['loss_cls'] > 0
    losses['loss_cls'].backward()
    assert all(conv[-1].weight.grad.isfinite().all() for conv in made.cls_convs)


def check_learning(made):
    """A head can overfit one batch."""
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
