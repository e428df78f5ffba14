"""ATSS and task-aligned matching, instead of a fixed IoU threshold."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbv2_backbone.det.targets import BACKGROUND, IGNORED, pairwise_overlaps


def match_adaptive(
    priors: Tensor,
    gt_bboxes: Tensor,
    gt_mask: Tensor,
    *,
    level_sizes: Sequence[int],
    topk: int = 9,
    excluded: Tensor | None = None,
) -> Tensor:
    """Match by a threshold for each box (ATSS, section 3.2).

    The candidates of a box are, on each level, the `topk` priors with the nearest centres. Those
    are taken that have their centre in the box and overlap it by at least mean and standard
    deviation of the candidates' IoU. A prior that several boxes take belongs to the one that it
    overlaps most.

    Args:
        priors: `(P, 4)` boxes xyxy, level by level.
        gt_bboxes: `(N, G, 4)` boxes xyxy, padded; G at least 1.
        gt_mask: `(N, G)` bool, which of the boxes are real.
        level_sizes: Number of priors of each level.
        topk: Candidates on a level.
        excluded: `(N, P)` bool, priors that may be neither positive nor background.

    Returns:
        `(N, P)` long: the index of the matched box, `BACKGROUND` or `IGNORED`.
    """
    overlaps = pairwise_overlaps(gt_bboxes, priors)  # (N, G, P)
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    gt_centres = (gt_bboxes[..., :2] + gt_bboxes[..., 2:]) / 2
    distances = (gt_centres[..., None, :] - centres).square().sum(-1)
    if excluded is not None:
        distances = distances.masked_fill(excluded[:, None], torch.inf)
    is_near = torch.zeros_like(overlaps, dtype=torch.bool)
    start = 0
    for size in level_sizes:
        level = distances[..., start : start + size]
        nearest = level.topk(min(topk, size), dim=2, largest=False).indices
        is_near.scatter_(2, nearest + start, True)
        start += size
    num = is_near.sum(2)
    mean = torch.where(is_near, overlaps, 0.0).sum(2) / num
    squares = torch.where(is_near, (overlaps - mean[..., None]).square(), 0.0).sum(2)
    threshold = mean + (squares / (num - 1).clamp(min=1)).sqrt()
    is_taken = is_near & (overlaps >= threshold[..., None]) & _is_inside(priors, gt_bboxes)
    return _owners(is_taken & gt_mask[..., None], overlaps, excluded)


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
) -> Tensor:
    """Match priors to boxes by what they predict now (TOOD, section 3.2).

    The alignment of a prior with a box is `score ** alpha * IoU ** beta`, of the score of the box's
    class and the IoU of the predicted box. A box takes the `topk` best of the priors whose centre
    lies inside it; one with no centre inside, as a small box has between the cells, takes the prior
    that overlaps it most. A prior without any alignment is not taken; one that several boxes take
    belongs to the one that its prediction overlaps most.

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
        `(N, P)` long: the index of the matched box, `BACKGROUND` or `IGNORED`.
    """
    overlaps = pairwise_overlaps(gt_bboxes, bboxes)  # (N, G, P)
    index = gt_labels[..., None].expand(-1, -1, scores.shape[1])
    alignment = scores.transpose(1, 2).gather(1, index) ** alpha * overlaps**beta
    is_inside = _is_inside(priors, gt_bboxes)
    nearest = pairwise_overlaps(gt_bboxes, priors).argmax(2, keepdim=True)
    is_only = torch.zeros_like(is_inside).scatter_(2, nearest, ~is_inside.any(2, keepdim=True))
    allowed = (is_inside | is_only) & gt_mask[..., None] & (alignment > 0)
    if excluded is not None:
        allowed &= ~excluded[:, None]
    best = torch.where(allowed, alignment, -1.0).topk(min(topk, len(priors)), dim=2).indices
    is_taken = torch.zeros_like(allowed).scatter_(2, best, True) & allowed
    return _owners(is_taken, overlaps, excluded)


def _is_inside(priors: Tensor, gt_bboxes: Tensor) -> Tensor:
    """Tell which priors have their centre in a box, `(N, G, P)`."""
    centres = (priors[:, :2] + priors[:, 2:]) / 2
    low, high = gt_bboxes[..., None, :2], gt_bboxes[..., None, 2:]
    return ((centres > low) & (centres < high)).all(-1)


def _owners(is_taken: Tensor, overlaps: Tensor, excluded: Tensor | None) -> Tensor:
    """Give each prior to the box, of those `(N, G, P)` that take it, with the largest IoU."""
    largest, owner = torch.where(is_taken, overlaps, -1.0).max(dim=1)
    matched = torch.where(largest >= 0, owner, BACKGROUND)
    return matched if excluded is None else torch.where(excluded, IGNORED, matched)
