"""Task-aligned matching and its losses: a prior learns the boxes it predicts well by itself."""

from __future__ import annotations

import torch
from torch import Tensor

from .targets import BACKGROUND, IGNORED, pairwise_overlaps

_EPS = 1e-7  # square pixels
_TINY = 1e-30  # an IoU to the power of 6 is soon small


def match_aligned(
    scores: Tensor,
    bboxes: Tensor,
    priors: Tensor,
    gt_bboxes: Tensor,
    gt_labels: Tensor,
    gt_mask: Tensor,
    *,
    topk: int = 13,
    alpha: float = 1.0,
    beta: float = 6.0,
    excluded: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Match priors to boxes by what they predict now (TOOD, section 3.2).

    The alignment of a prior with a box is `score ** alpha * IoU ** beta`, of the score of the box's
    class and the IoU of the predicted box. A box takes the `topk` best of the priors whose centre
    lies inside it; one with no centre inside, as a small box has between the cells, takes the prior
    that overlaps it most. A prior without any alignment is not taken; one that several boxes take
    belongs to the one it overlaps most.

    Args:
        scores: `(N, P, C)` predicted scores in [0, 1].
        bboxes: `(N, P, 4)` predicted boxes xyxy.
        priors: `(P, 4)` boxes xyxy.
        gt_bboxes: `(N, G, 4)` boxes xyxy, padded; G at least 1.
        gt_labels: `(N, G)` class indices.
        gt_mask: `(N, G)` bool, which of the boxes are real.
        topk: Priors that a box takes at most.
        alpha: Weight of the score.
        beta: Weight of the IoU.
        excluded: `(N, P)` bool, priors that may be neither positive nor background.

    Returns:
        `(N, P)` long, the index of the matched box, `BACKGROUND` or `IGNORED`; and `(N, P)` the
        score in [0, 1] that the prior should give its box: its alignment, scaled so that the best
        prior of a box gets the box's largest IoU. 0 where nothing is matched.
    """
    overlaps = pairwise_overlaps(gt_bboxes, bboxes)  # (N, G, P)
    index = gt_labels[..., None].expand(-1, -1, scores.shape[1])
    alignment = scores.transpose(1, 2).gather(1, index) ** alpha * overlaps**beta
    allowed = _candidates(priors, gt_bboxes)
    if excluded is not None:
        allowed &= ~excluded[:, None]
    allowed &= gt_mask[..., None]

    allowed &= alignment > 0
    best = torch.where(allowed, alignment, -1.0).topk(min(topk, len(priors)), dim=2).indices
    is_taken = torch.zeros_like(allowed).scatter_(2, best, True) & allowed
    largest, owner = torch.where(is_taken, overlaps, -1.0).max(dim=1)  # (N, P)
    is_positive = largest >= 0
    is_owned = torch.zeros_like(is_taken).scatter_(1, owner[:, None], is_positive[:, None])
    aligned = torch.where(is_owned, alignment, 0.0)
    most = torch.where(is_owned, overlaps, 0.0).amax(2, keepdim=True)
    quality = aligned * (most / aligned.amax(2, keepdim=True).clamp(min=_TINY))

    matched = torch.where(is_positive, owner, BACKGROUND)
    if excluded is not None:
        matched = torch.where(excluded, IGNORED, matched)
    return matched, quality.amax(1)


def _candidates(priors: Tensor, gt_bboxes: Tensor) -> Tensor:
    """Find the priors `(N, G, P)` with their centre in a box, or else the one nearest in shape."""
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    is_inside = ((centres > gt_bboxes[..., None, :2]) & (centres < gt_bboxes[..., None, 2:])).all(
        -1
    )
    nearest = pairwise_overlaps(gt_bboxes, priors).argmax(2, keepdim=True)
    has_none = ~is_inside.any(2, keepdim=True)
    return is_inside | torch.zeros_like(is_inside).scatter_(2, nearest, has_none)


def quality_loss(logits: Tensor, labels: Tensor, quality: Tensor, *, gamma: float = 2.0) -> Tensor:
    """Cross entropy to soft targets, focused on what is far from them.

    Quality focal loss (Generalized Focal Loss, section 3.2) for a softmax with a background: the
    class should have the score `quality` and the background the rest. Each prior is weighted by the
    total variation distance of scores and target to the power of `gamma`, without gradient; for a
    background prior that is the focal loss's weight.

    Args:
        logits: `(N, P, C + 1)`, float32; the last class is background.
        labels: `(N, P)` long in 0..C; C is background.
        quality: `(N, P)` in [0, 1], the score that the class should have; 0 for background.
        gamma: How much less a prior counts that is near its target.

    Returns:
        `(N, P)` losses.
    """
    target = torch.zeros_like(logits).scatter_(2, labels[..., None], quality[..., None])
    target[..., -1] = 1 - quality
    distance = (logits.detach().softmax(-1) - target).abs().sum(-1) / 2
    cross_entropy = -(target * logits.log_softmax(-1)).sum(-1)
    return distance**gamma * cross_entropy


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of pairs (GIoU, section 3): IoU less the empty part of the box around both.

    Args:
        first: `(..., 4)` boxes xyxy.
        second: `(..., 4)` boxes xyxy.

    Returns:
        `(...)` in [-1, 1].
    """
    near = torch.maximum(first[..., :2], second[..., :2])
    far = torch.minimum(first[..., 2:], second[..., 2:])
    intersection = (far - near).clamp(min=0).prod(-1)
    union = (
        (first[..., 2:] - first[..., :2]).prod(-1)
        + (second[..., 2:] - second[..., :2]).prod(-1)
        - intersection
    )
    near = torch.minimum(first[..., :2], second[..., :2])
    far = torch.maximum(first[..., 2:], second[..., 2:])
    around = (far - near).prod(-1)
    return intersection / union.clamp(min=_EPS) - (around - union) / around.clamp(min=_EPS)


def overlap_loss(bboxes: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Loss of the boxes, 1 less the generalised IoU.

    Args:
        bboxes: `(N, P, 4)` predicted boxes xyxy.
        targets: `(N, P, 4)` boxes xyxy.
        weights: `(N, P)` of each prior; 0 for those that are not matched.

    Returns:
        The weighted sum over the batch, a scalar.
    """
    return ((1 - generalised_iou(bboxes, targets)) * weights).sum()
