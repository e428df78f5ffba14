"""Targets for a batch: IoU, matching and box encoding."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

BACKGROUND = -1
IGNORED = -2
MAX_LOG_RATIO = 4.135166556742356  # log(1000 / 16): a box grows or shrinks by at most this much


def pad_boxes(
    bboxes: Sequence[Tensor], labels: Sequence[Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Stack the boxes of all images, padded to the largest count.

    Args:
        bboxes: For each image `(G_i, 4)` boxes xyxy; `G_i` may be 0.
        labels: For each image `(G_i,)` class indices.

    Returns:
        Boxes `(N, G, 4)` float32, labels `(N, G)` (0 where padded or not given) and a mask
        `(N, G)` of the boxes that are real, finite and of positive width and height.
    """
    boxes = pad_sequence([b.float() for b in bboxes], batch_first=True)
    if labels is None:
        padded_labels = boxes.new_zeros(boxes.shape[:2], dtype=torch.long)
    else:
        padded_labels = pad_sequence(list(labels), batch_first=True)
    is_sound = boxes.isfinite().all(-1) & (boxes[..., 2:] > boxes[..., :2]).all(-1)
    return torch.where(is_sound[..., None], boxes, 0.0), padded_labels, is_sound


def shared_and_union(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Return the intersection and union areas `(...)` of pairs of boxes `(..., 4)` xyxy."""
    wh = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(
        first[..., :2], second[..., :2]
    )
    shared = wh.clamp_(min=0).prod(-1)
    return shared, areas_of(first) + areas_of(second) - shared


def areas_of(boxes: Tensor) -> Tensor:
    """Return the areas `(...)` of boxes `(..., 4)` xyxy."""
    return (boxes[..., 2:] - boxes[..., :2]).prod(-1)


def pairwise_overlaps(first: Tensor, second: Tensor, *, over_first: bool = False) -> Tensor:
    """Intersection over union of all pairs.

    Args:
        first: `(..., G, 4)` boxes xyxy.
        second: `(..., P, 4)` boxes xyxy; leading dimensions broadcast.
        over_first: Divide by the area of the first box instead of the union.

    Returns:
        `(..., G, P)` in [0, 1]; 0 where the divisor is 0.
    """
    first, second = first[..., :, None, :], second[..., None, :, :]
    shared, union = shared_and_union(first, second)
    return shared / (areas_of(first) if over_first else union).clamp(min=1e-6)


def match(
    priors: Tensor,
    gt_bboxes: Tensor,
    gt_mask: Tensor,
    *,
    pos_iou_thr: float = 0.5,
    neg_iou_thr: float | tuple[float, float] = 0.5,
    min_pos_iou: float = 0.0,
    match_all_best: bool = False,
    excluded: Tensor | None = None,
) -> Tensor:
    """Match priors to boxes as in SSD (section 2.2): each box's best prior, then all above an IoU.

    Args:
        priors: `(P, 4)` boxes xyxy.
        gt_bboxes: `(N, G, 4)` boxes xyxy, padded.
        gt_mask: `(N, G)` bool, which of them are real.
        pos_iou_thr: A prior with at least this IoU is matched to its best box.
        neg_iou_thr: Below it (or inside the range, upper end excluded) a prior is background.
        min_pos_iou: A box takes its best prior whatever the thresholds, if the IoU is at least
            this. Where two boxes take the same prior, the later one gets it.
        match_all_best: All priors that tie for a box's best are taken, not only the first.
        excluded: `(N, P)` bool, priors that may be neither positive nor background.

    Returns:
        `(N, P)` long: the index of the matched box, `BACKGROUND` or `IGNORED`.
    """
    num_images, num_gts = gt_mask.shape
    num_priors = len(priors)
    never = torch.zeros(num_images, num_priors, dtype=torch.bool, device=priors.device)
    excluded = never if excluded is None else excluded
    if num_gts == 0:
        return torch.where(excluded, IGNORED, BACKGROUND)

    overlaps = pairwise_overlaps(gt_bboxes, priors)  # (N, G, P)
    overlaps = overlaps.masked_fill(excluded[:, None], -1)
    overlaps = overlaps.masked_fill(~gt_mask[..., None], -2)
    best_iou, best_gt = overlaps.max(dim=1)  # (N, P)
    low, high = neg_iou_thr if isinstance(neg_iou_thr, tuple) else (0.0, neg_iou_thr)
    is_background = (best_iou >= low) & (best_iou < high)
    # An image without boxes is background everywhere.
    is_background |= ~gt_mask.any(1, keepdim=True) & ~excluded
    matched = torch.where(is_background, BACKGROUND, IGNORED)
    matched = torch.where(best_iou >= pos_iou_thr, best_gt, matched)

    gt_best_iou, gt_best_prior = overlaps.max(dim=2)  # (N, G)
    takes_best = gt_mask & (gt_best_iou >= min_pos_iou)
    gt_index = torch.arange(num_gts, device=priors.device)
    if match_all_best:
        is_best = (overlaps == gt_best_iou[..., None]) & takes_best[..., None]
        taken_by = torch.where(is_best, gt_index[:, None], -1).amax(1)
    else:
        taken_by = torch.full_like(matched, -1).scatter_reduce(
            1, gt_best_prior, torch.where(takes_best, gt_index, -1), 'amax'
        )
    return torch.where(taken_by >= 0, taken_by, matched)


def take_matched(
    matched: Tensor, gt_bboxes: Tensor, gt_labels: Tensor, priors: Tensor, *, num_classes: int
) -> tuple[Tensor, Tensor]:
    """Look up the label and box that each prior was matched to.

    Args:
        matched: `(N, P)` long, as returned by `match`.
        gt_bboxes: `(N, G, 4)` boxes xyxy, padded.
        gt_labels: `(N, G)` class indices.
        priors: `(P, 4)` boxes xyxy.
        num_classes: The label of background.

    Returns:
        Labels `(N, P)` in 0..C with C for background, and boxes `(N, P, 4)`; those of priors that
        are not matched are the priors themselves.
    """
    if gt_bboxes.shape[1] == 0:
        return torch.full_like(matched, num_classes), priors.expand(*matched.shape, 4)
    is_positive = matched > BACKGROUND
    index = matched.clamp(min=0)
    labels = torch.where(is_positive, gt_labels.gather(1, index), num_classes)
    boxes = gt_bboxes.gather(1, index[..., None].expand(-1, -1, 4))
    return labels, torch.where(is_positive[..., None], boxes, priors)


def exclude_ignored(
    priors: Tensor, ignored_bboxes: Tensor, ignored_mask: Tensor, *, iof_thr: float
) -> Tensor:
    """Find the priors that lie in ignored regions (crowds).

    Args:
        priors: `(P, 4)` boxes xyxy.
        ignored_bboxes: `(N, I, 4)` boxes xyxy, padded.
        ignored_mask: `(N, I)` bool, which of them are real.
        iof_thr: A prior is excluded if a region covers more than this share of it.

    Returns:
        `(N, P)` bool.
    """
    overlaps = pairwise_overlaps(priors, ignored_bboxes, over_first=True)  # (N, P, I)
    return ((overlaps > iof_thr) & ignored_mask[:, None]).any(-1)


def encode(
    priors: Tensor, bboxes: Tensor, *, means: Sequence[float], stds: Sequence[float]
) -> Tensor:
    """Encode boxes relative to priors: centre offsets and log sizes (SSD, equation 2).

    Args:
        priors: `(..., 4)` boxes xyxy.
        bboxes: `(..., 4)` boxes xyxy of positive size.
        means: Subtracted from the four codes.
        stds: The codes are divided by these (SSD's variances; 0.1, 0.1, 0.2, 0.2).

    Returns:
        `(..., 4)`: dx, dy, dw, dh.
    """
    prior_wh = priors[..., 2:] - priors[..., :2]
    offset = ((bboxes[..., :2] + bboxes[..., 2:]) - (priors[..., :2] + priors[..., 2:])) * 0.5
    log_wh = torch.log((bboxes[..., 2:] - bboxes[..., :2]) / prior_wh)
    deltas = torch.cat([offset / prior_wh, log_wh], dim=-1)
    # Tensors of means and stds would be copied to the GPU in every step, which then waits.
    columns = zip(deltas.unbind(-1), means, stds, strict=True)
    return torch.stack([(column - mean) / std for column, mean, std in columns], dim=-1)


def decode(
    priors: Tensor,
    deltas: Tensor,
    *,
    means: Sequence[float] | Tensor,
    stds: Sequence[float] | Tensor,
) -> Tensor:
    """Decode box codes; the inverse of `encode`.

    Args:
        priors: `(..., 4)` boxes xyxy.
        deltas: `(..., 4)` predicted codes; sizes change by a factor of at most 62.5.
        means: As in `encode`; a tensor `(4,)` on the device saves the copy in each step.
        stds: As in `encode`.

    Returns:
        `(..., 4)` boxes xyxy, not clipped.
    """
    as_deltas = dict(dtype=deltas.dtype, device=deltas.device)
    deltas = deltas * torch.as_tensor(stds, **as_deltas) + torch.as_tensor(means, **as_deltas)
    prior_wh = priors[..., 2:] - priors[..., :2]
    centre = (priors[..., :2] + priors[..., 2:]) * 0.5 + prior_wh * deltas[..., :2]
    half_wh = prior_wh * deltas[..., 2:].clamp(-MAX_LOG_RATIO, MAX_LOG_RATIO).exp() * 0.5
    return torch.cat([centre - half_wh, centre + half_wh], dim=-1)
