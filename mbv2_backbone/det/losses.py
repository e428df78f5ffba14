"""Losses over a whole batch: the SSD losses (SSD paper, section 2.2) and quality focal loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .targets import shared_and_union

_EPS = 1e-7  # square pixels


def hard_negative_weights(
    losses: Tensor, is_positive: Tensor, is_negative: Tensor, *, neg_pos_ratio: float
) -> Tensor:
    """Choose the negatives with the largest loss, a fixed number for each positive.

    Args:
        losses: `(N, P)` classification loss of each prior, 0 where it is ignored.
        is_positive: `(N, P)` bool.
        is_negative: `(N, P)` bool.
        neg_pos_ratio: Negatives for each positive of the same image.

    Returns:
        `(N, P)` float, 1 for the chosen negatives, else 0. No gradient.
    """
    budget = (is_positive.sum(1, keepdim=True) * neg_pos_ratio).long()  # (N, 1)
    candidates = losses.detach().masked_fill(~is_negative, -1)
    order = candidates.argsort(dim=1, descending=True)
    rank = torch.empty_like(order).scatter_(
        1, order, torch.arange(losses.shape[1], device=losses.device).expand_as(order)
    )
    return ((rank < budget) & is_negative).to(losses.dtype)


def classification_loss(
    logits: Tensor, labels: Tensor, weights: Tensor, *, neg_pos_ratio: float, use_sigmoid: bool
) -> Tensor:
    """Cross entropy over the positives and the hardest negatives.

    Args:
        logits: `(N, P, C + 1)` with the background last or, for a sigmoid, `(N, P, C)`; float32.
        labels: `(N, P)` long in 0..C; C is background.
        weights: `(N, P)` float: 0 for priors that are ignored.
        neg_pos_ratio: Negatives for each positive of the same image.
        use_sigmoid: One sigmoid for each class, their losses added, instead of a softmax.

    Returns:
        The sum over the batch, a scalar.
    """
    num_classes = logits.shape[-1] - (0 if use_sigmoid else 1)
    if use_sigmoid:
        target = F.one_hot(labels, num_classes + 1)[..., :-1].to(logits.dtype)
        losses = F.binary_cross_entropy_with_logits(logits, target, reduction='none').sum(-1)
    else:
        losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction='none')
    losses = losses.view_as(labels) * weights
    is_positive = labels < num_classes
    negatives = hard_negative_weights(
        losses, is_positive, ~is_positive, neg_pos_ratio=neg_pos_ratio
    )
    return (losses * (is_positive + negatives)).sum()


def box_loss(deltas: Tensor, targets: Tensor, is_positive: Tensor, *, beta: float) -> Tensor:
    """Smooth L1 over the positives.

    Args:
        deltas: `(N, P, 4)` predicted codes, float32.
        targets: `(N, P, 4)` codes, finite everywhere.
        is_positive: `(N, P)` bool.
        beta: Where the loss turns from quadratic to linear.

    Returns:
        The sum over the batch, a scalar.
    """
    losses = F.smooth_l1_loss(deltas, targets, reduction='none', beta=beta)
    return (losses * is_positive[..., None]).sum()


def quality_loss(logits: Tensor, labels: Tensor, quality: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Cross entropy with soft targets, focused on predictions far from them.

    Quality focal loss (Generalized Focal Loss, section 3.2) for a softmax with a background: the
    class should have the score `quality` and the background the rest. Each prior is weighted by the
    total variation distance of scores and target to the power of `gamma`, without gradient; for a
    background prior that is the focal loss's weight.

    Args:
        logits: `(N, P, C + 1)`, float32; the last class is background.
        labels: `(N, P)` long in 0..C; C is background.
        quality: `(N, P)` in [0, 1], the score that the class should have; 0 for background.
        gamma: How strongly priors near their target are weighted down.

    Returns:
        `(N, P)` losses.
    """
    target = torch.zeros_like(logits).scatter_(2, labels[..., None], quality[..., None])
    target[..., -1] = 1 - quality
    distance = (logits.detach().softmax(-1) - target).abs().sum(-1) / 2
    cross_entropy = -(target * logits.log_softmax(-1)).sum(-1)
    return distance**gamma * cross_entropy


def paired_overlaps(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU of pairs, and generalised IoU: minus the empty part of the box around both (GIoU, 3).

    Args:
        first: `(..., 4)` boxes xyxy.
        second: `(..., 4)` boxes xyxy.

    Returns:
        `(...)` in [0, 1], and `(...)` in [-1, 1].
    """
    shared, union = shared_and_union(first, second)
    near = torch.minimum(first[..., :2], second[..., :2])
    far = torch.maximum(first[..., 2:], second[..., 2:])
    around = (far - near).prod(-1)
    iou = shared / union.clamp(min=_EPS)
    return iou, iou - (around - union) / around.clamp(min=_EPS)
