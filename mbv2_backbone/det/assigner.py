"""From the boxes of a batch to what every prior must predict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor

from .targets import IGNORED, encode, exclude_ignored, match, pad_boxes, take_matched


class TargetBuilder:
    """Matches, codes and weights by mmdet's SSD `train_cfg`.

    Args:
        assigner: Config of a `MaxIoUAssigner`; `None` means thresholds of 0.5.
        num_classes: Number of classes, background not counted.
        means: Of the box coding.
        stds: Of the box coding.

    Raises:
        ValueError: If the assigner is another one.
    """

    def __init__(
        self,
        assigner: dict | None,
        *,
        num_classes: int,
        means: Sequence[float],
        stds: Sequence[float],
    ) -> None:
        assigner = dict(assigner or {})
        kind = assigner.get('type', 'MaxIoUAssigner')
        if kind != 'MaxIoUAssigner':
            raise ValueError(f"the assigner's type must be MaxIoUAssigner, got {kind}")
        self.num_classes = num_classes
        self.coding = dict(means=means, stds=stds)
        self.ignore_iof_thr = assigner.get('ignore_iof_thr', -1)
        self.matching = iou_matching(assigner)

    @torch.no_grad()
    def __call__(
        self,
        priors: Tensor,
        gts: Sequence[InstanceData],
        ignored: Sequence[InstanceData | None] | None = None,
        in_padding: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Build the targets of a batch.

        Args:
            priors: `(P, 4)` boxes xyxy in pixels.
            gts: For each image `bboxes` (xyxy, pixels) and `labels`. A box that is not finite or
                has no area is left out.
            ignored: For each image the `bboxes` of ignored regions (crowds).
            in_padding: `(N, P)` bool, priors outside the image that count neither way.

        Returns:
            Labels `(N, P)` in 0..C with C for background, box codes `(N, P, 4)`, finite
            everywhere, and weights `(N, P)`, 0 for priors that count neither way.
        """
        gt_bboxes, gt_labels, gt_mask = pad_boxes(
            [get_box_tensor(gt.bboxes) for gt in gts], [gt.labels for gt in gts]
        )
        excluded = find_excluded(
            priors, gt_mask, ignored, in_padding, ignore_iof_thr=self.ignore_iof_thr
        )
        matched = match(priors, gt_bboxes, gt_mask, excluded=excluded, **self.matching)
        labels, boxes = take_matched(
            matched, gt_bboxes, gt_labels, priors, num_classes=self.num_classes
        )
        targets = encode(priors, boxes, **self.coding)
        return labels, targets, (matched != IGNORED).float()


def iou_matching(assigner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `targets.match` that mmdet's `MaxIoUAssigner` config stands for."""
    neg_iou_thr = assigner.get('neg_iou_thr', 0.5)
    return dict(
        pos_iou_thr=assigner.get('pos_iou_thr', 0.5),
        neg_iou_thr=tuple(neg_iou_thr) if isinstance(neg_iou_thr, list) else neg_iou_thr,
        min_pos_iou=assigner.get('min_pos_iou', 0.0),
        match_all_best=assigner.get('gt_max_assign_all', False),
    )


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
        ignore_iof_thr: A prior is out if a region covers more than this part of it; at 0 or below
            regions exclude nothing.

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
    # As in mmdet, a crowd excludes nothing in an image without boxes of its own.
    in_crowd &= gt_mask.any(1, keepdim=True)
    return in_crowd if in_padding is None else in_crowd | in_padding
