"""Fuse the boxes that a detector finds in several views of an image."""

from __future__ import annotations

import torch
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor
from torchvision.ops import batched_nms, box_iou


def fuse_views(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    views: Tensor,
    *,
    num_views: int,
    iou_threshold: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Average the boxes of one object over several views (weighted box fusion, arXiv:1910.13302).

    NMS finds the objects: the boxes that it keeps. Each box then belongs to the kept box of
    its class that it overlaps most, by more than `iou_threshold`, or it would have been kept. An
    object's box is the mean of its boxes weighted by score, its score the mean over the views of
    the best score in each, 0 where a view has none; so what only one view has seen counts less.

    Args:
        boxes: `(N, 4)` xyxy of all views, in pixels of the original image.
        scores: `(N,)` in (0, 1].
        labels: `(N,)` class indices.
        views: `(N,)` the view each box is from, in [0, num_views).
        num_views: Number of views.
        iou_threshold: In (0, 1].

    Returns:
        `(K, 4)`, `(K,)` and `(K,)`: boxes, scores, descending, and labels.
    """
    kept = batched_nms(boxes, scores, labels, iou_threshold)
    overlaps = box_iou(boxes, boxes[kept]) * (labels[:, None] == labels[kept])
    owner = overlaps.argmax(dim=1)
    total = torch.zeros_like(scores[kept]).index_add(0, owner, scores)
    fused = torch.zeros_like(boxes[kept]).index_add(0, owner, scores[:, None] * boxes)
    best = scores.new_zeros(len(kept) * num_views)
    best = best.scatter_reduce(0, owner * num_views + views, scores, 'amax')
    fused_scores, order = best.view(-1, num_views).mean(dim=1).sort(descending=True, stable=True)
    return (fused / total[:, None])[order], fused_scores, labels[kept][order]


@MODELS.register_module()
class FusedDetTTAModel(DetTTAModel):
    """mmdet's test-time augmentation with the boxes of all views fused, see `fuse_views`.

    mmdet puts them all through NMS: of two boxes on an object the one with the higher score is
    kept, even if that view was overconfident.

    Args:
        tta_cfg: `nms.iou_threshold` and `max_per_img`, as in mmdet.
        **kwargs: As for mmdet's `DetTTAModel`.
    """

    def _merge_single_sample(self, data_samples: list[DetDataSample]) -> DetDataSample:
        found = [sample.pred_instances for sample in data_samples]
        boxes, scores = self.merge_aug_bboxes(
            [f.bboxes for f in found],
            [f.scores for f in found],
            [sample.metainfo for sample in data_samples],
        )
        merged = data_samples[0]
        if not len(boxes):
            return merged
        counts = torch.tensor([len(f.scores) for f in found], device=boxes.device)
        boxes, scores, labels = fuse_views(
            boxes,
            scores,
            torch.cat([f.labels for f in found]),
            torch.arange(len(found), device=boxes.device).repeat_interleave(counts),
            num_views=len(found),
            iou_threshold=self.tta_cfg['nms']['iou_threshold'],
        )
        limit = self.tta_cfg['max_per_img']
        merged.pred_instances = InstanceData(
            bboxes=boxes[:limit], scores=scores[:limit], labels=labels[:limit]
        )
        return merged
