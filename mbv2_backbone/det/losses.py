"""The two losses of SSD, over a batch at once (SSD paper, section 2.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def hard_negative_weights(
    losses: Tensor, is_positive: Tensor, is_negative: Tensor, *, neg_pos_ratio: float
) -> Tensor:
    """Choose the negatives with the largest loss, a fixed number for each positive.

    Args:
        losses: `(N, P)` classification loss of each prior, 0 where it does not count.
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
    logits: Tensor, labels: Tensor, weights: Tensor, *, neg_pos_ratio: float
) -> Tensor:
    """Softmax cross entropy over the positives and the hardest negatives.

    Args:
        logits: `(N, P, C + 1)`, float32; the last class is background.
        labels: `(N, P)` long in 0..C; C is background.
        weights: `(N, P)` float: 0 for priors that count neither way.
        neg_pos_ratio: Negatives for each positive of the same image.

    Returns:
        The sum over the batch, a scalar.
    """
    num_classes = logits.shape[-1] - 1
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
