"""Assign the boxes of a batch to priors and build the targets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .targets import IGNORED, exclude_ignored, match, pad_boxes, take_matched

Matcher = Callable[..., Tensor]
"""Takes padded boxes, labels, mask and `excluded=`; returns what `targets.match` does."""


class TargetBuilder:
    """Matches priors to boxes and weights them, as the `assigner` in mmdet's `train_cfg` says.

    Args:
        assigner: Its `ignore_iof_thr` and, for a `MaxIoUAssigner`, its thresholds; `None` means
            thresholds of 0.5.
        num_classes: Number of classes, without background.
    """

    def __init__(self, assigner: Mapping[str, Any] | None, *, num_classes: int) -> None:
        assigner = assigner or {}
        self.num_classes = num_classes
        self.ignore_iof_thr = assigner.get('ignore_iof_thr', -1)
        neg_iou_thr = assigner.get('neg_iou_thr', 0.5)
        self.thresholds = dict(
            pos_iou_thr=assigner.get('pos_iou_thr', 0.5),
            neg_iou_thr=tuple(neg_iou_thr) if isinstance(neg_iou_thr, list) else neg_iou_thr,
            min_pos_iou=assigner.get('min_pos_iou', 0.0),
            match_all_best=assigner.get('gt_max_assign_all', False),
        )

    @torch.no_grad()
    def __call__(
        self,
        priors: Tensor,
        gts: Sequence[InstanceData],
        ignored: Sequence[InstanceData | None] | None = None,
        in_padding: Tensor | None = None,
        *,
        matcher: Matcher | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Build the targets of a batch.

        Args:
            priors: `(P, 4)` boxes xyxy in pixels.
            gts: For each image `bboxes` (xyxy, pixels) and `labels`. A box that is not finite or
                has no area is dropped.
            ignored: For each image the `bboxes` of ignored regions (crowds).
            in_padding: `(N, P)` bool, priors outside the image, which are ignored.
            matcher: Replaces `targets.match` if any image has a box.

        Returns:
            Labels `(N, P)` in 0..C with C for background, boxes `(N, P, 4)` xyxy (the prior itself
            where it is not matched), and weights `(N, P)`, 0 for ignored priors, which are neither
            positive nor background.
        """
        gt_bboxes, gt_labels, gt_mask = pad_boxes(
            [get_box_tensor(gt.bboxes) for gt in gts], [gt.labels for gt in gts]
        )
        excluded = find_excluded(
            priors, gt_mask, ignored, in_padding, ignore_iof_thr=self.ignore_iof_thr
        )
        if matcher is None or gt_mask.shape[1] == 0:
            matched = match(priors, gt_bboxes, gt_mask, excluded=excluded, **self.thresholds)
        else:
            matched = matcher(gt_bboxes, gt_labels, gt_mask, excluded=excluded)
        labels, boxes = take_matched(
            matched, gt_bboxes, gt_labels, priors, num_classes=self.num_classes
        )
        return labels, boxes, (matched != IGNORED).float()


def find_excluded(
    priors: Tensor,
    gt_mask: Tensor,
    ignored: Sequence[InstanceData | None] | None,
    in_padding: Tensor | None,
    *,
    ignore_iof_thr: float,
) -> Tensor | None:
    """Find the priors that may be neither positive nor background.

    Args:
        priors: `(P, 4)` boxes xyxy in pixels.
        gt_mask: `(N, G)` bool, which boxes of the images are real.
        ignored: For each image the `bboxes` of ignored regions (crowds).
        in_padding: `(N, P)` bool, priors outside the image.
        ignore_iof_thr: A prior is excluded if a region covers more than this share of it; at 0 or
            below, regions exclude nothing.

    Returns:
        `(N, P)` bool, or None if there are none.
    """
    if ignore_iof_thr <= 0 or ignored is None:
        return in_padding
    boxes = [
        priors.new_zeros(0, 4) if regions is None else get_box_tensor(regions.bboxes)
        for regions in ignored
    ]
    regions, _, mask = pad_boxes(boxes)
    in_crowd = exclude_ignored(priors, regions, mask, iof_thr=ignore_iof_thr)
    # As in mmdet, a crowd excludes nothing in an image without boxes.
    in_crowd &= gt_mask.any(1, keepdim=True)
    return in_crowd if in_padding is None else in_crowd | in_padding
