"""Classification and box losses against loops and torchvision."""

import math

import pytest
import torch
import torch.nn.functional as F
from helpers.boxes import boxes
from torchvision.ops import box_iou, generalized_box_iou_loss

from mbv2_backbone.det.losses import (
    box_loss,
    classification_loss,
    hard_negative_weights,
    paired_overlaps,
    quality_loss,
)


def test_quality_loss_against_the_loop():
    logits = torch.randn(2, 7, 4) * 3
    labels = torch.randint(0, 4, (2, 7))
    quality = torch.rand(2, 7) * (labels < 3)
    got = quality_loss(logits, labels, quality, gamma=1.5)
    for i in range(2):
        for p in range(7):
            target = [0.0] * 4
            target[labels[i, p]] = quality[i, p].item()
            target[3] = 1 - quality[i, p].item()
            score = logits[i, p].softmax(-1).tolist()
            distance = sum(abs(s - t) for s, t in zip(score, target, strict=True)) / 2
            log_score = logits[i, p].log_softmax(-1).tolist()
            entropy = -sum(t * s for t, s in zip(target, log_score, strict=True))
            assert got[i, p].item() == pytest.approx(distance**1.5 * entropy, rel=1e-4)


def test_quality_loss_of_background_is_the_focal_loss():
    logits = torch.randn(1, 5, 3)
    labels = torch.full((1, 5), 2)
    score = logits.softmax(-1)[..., 2]
    expected = (1 - score) ** 2 * F.cross_entropy(logits[0], labels[0], reduction='none')
    torch.testing.assert_close(quality_loss(logits, labels, torch.zeros(1, 5)), expected)


def test_paired_overlaps_equal_torchvisions_and_stay_finite():
    first, second = boxes(50), boxes(50)
    iou, generalised = paired_overlaps(first, second)
    torch.testing.assert_close(iou, box_iou(first, second).diagonal())
    torch.testing.assert_close(1 - generalised, generalized_box_iou_loss(first, second))
    empty = torch.zeros(1, 4, requires_grad=True)
    sum(paired_overlaps(empty, torch.zeros(1, 4))).sum().backward()
    assert empty.grad.isfinite().all()


def slow_prior_loss(row, label, use_sigmoid):
    """Return the loss of one prior from its logits."""
    if not use_sigmoid:
        return -math.log(math.exp(row[label]) / sum(math.exp(value) for value in row))
    scores = [1 / (1 + math.exp(-value)) for value in row]
    return sum(-math.log(p if label == c else 1 - p) for c, p in enumerate(scores))


def slow_classification_loss(logits, labels, weights, ratio, num_classes, use_sigmoid):
    """Return the loss, and which priors `(image, prior)` are in it."""
    total, used = 0.0, set()
    for i in range(len(logits)):
        losses = [
            slow_prior_loss(row, label, use_sigmoid) * weight
            for row, label, weight in zip(
                logits[i].double().tolist(), labels[i].tolist(), weights[i].tolist(), strict=True
            )
        ]
        positive = [p for p in range(len(losses)) if labels[i, p] < num_classes]
        negative = [p for p in range(len(losses)) if labels[i, p] == num_classes]
        negative.sort(key=lambda p: -losses[p])
        chosen = positive + negative[: int(len(positive) * ratio)]
        total += sum(losses[p] for p in chosen)
        used |= {(i, p) for p in chosen if losses[p] > 0}
    return total, used


def random_targets(num_images, num_classes):
    """Return labels with an image without positives, and weights that ignore some negatives."""
    is_positive = torch.rand(num_images, 30) < 0.2
    labels = torch.randint(0, num_classes, (num_images, 30)).where(is_positive, num_classes)
    labels[:1] = num_classes
    weights = (torch.rand(num_images, 30) < 0.9).float().where(labels == num_classes, 1.0)
    return labels, weights


@pytest.mark.parametrize('use_sigmoid', [False, True])
@pytest.mark.parametrize('ratio', [0, 3, 1000])
@pytest.mark.parametrize('num_images', [0, 1, 4])
def test_classification_loss_against_the_loop(num_images, ratio, use_sigmoid):
    logits = torch.randn(num_images, 30, 3 if use_sigmoid else 4, requires_grad=True)
    labels, weights = random_targets(num_images, 3)
    got = classification_loss(logits, labels, weights, neg_pos_ratio=ratio, use_sigmoid=use_sigmoid)
    expected, used = slow_classification_loss(logits, labels, weights, ratio, 3, use_sigmoid)
    assert got.item() == pytest.approx(expected, rel=1e-5, abs=1e-5)
    got.backward()
    assert {tuple(at) for at in logits.grad.any(-1).nonzero().tolist()} == used


def test_the_sigmoid_loss_of_far_logits_is_finite():
    logits = torch.tensor([[[200.0, -200.0], [-200.0, 200.0], [-200.0, -200.0]]])
    labels = torch.tensor([[0, 0, 2]])
    loss = classification_loss(logits, labels, torch.ones(1, 3), neg_pos_ratio=3, use_sigmoid=True)
    assert loss.item() == 400  # the second prior misses its class and claims another


def test_hard_negatives_are_the_hardest():
    losses = torch.tensor([[0.1, 0.9, 0.5, 0.7, 0.3]])
    positive = torch.tensor([[False, False, True, False, False]])
    chosen = hard_negative_weights(losses, positive, ~positive, neg_pos_ratio=2)
    assert chosen.tolist() == [[0, 1, 0, 1, 0]]


def test_box_loss_against_the_loop():
    deltas, targets = torch.randn(2, 8, 4) * 2, torch.randn(2, 8, 4)
    positive = torch.rand(2, 8) < 0.5
    expected = sum(
        F.smooth_l1_loss(deltas[i, p], targets[i, p], reduction='sum', beta=0.7).item()
        for i in range(2)
        for p in range(8)
        if positive[i, p]
    )
    assert box_loss(deltas, targets, positive, beta=0.7).item() == pytest.approx(expected, rel=1e-5)
    assert box_loss(deltas, targets, positive & False, beta=0.7).item() == 0
