"""The choices of matching and losses that `QualitySSDLiteHead` was measured against."""

from __future__ import annotations

from functools import partial
from typing import Any

from mmdet.registry import MODELS
from torch import Tensor

from mbv2_backbone.det.assigner import Matcher
from mbv2_backbone.det.losses import box_loss, paired_overlaps, quality_loss
from mbv2_backbone.det.quality_head import QualitySSDLiteHead
from mbv2_backbone.det.targets import decode, encode

from .matching import match_adaptive, match_aligned

_BOX_LOSSES = ('giou', 'smooth_l1')


@MODELS.register_module()
class AblatedQualityHead(QualitySSDLiteHead):
    """`QualitySSDLiteHead` with other matching, box loss or targets; docs/accuracy.md has figures.

    Args:
        train_cfg: As for `QualitySSDLiteHead`, and `assigner` may also be `ATSSAssigner` with
            `topk` (9) or `TaskAlignedAssigner` with `topk` (13); for the last one `alpha` (1) and
            `beta` (6), as in mmdet's TOOD configs. `label_smoothing` (0) is the part of a score's
            target that goes to the background, `box_loss` is 'giou' or 'smooth_l1' as in SSD, with
            `smoothl1_beta` (1).
        **kwargs: As for `SSDLiteHead`.

    Raises:
        ValueError: If the assigner or the box loss is none of these.
    """

    assigners = ('MaxIoUAssigner', 'ATSSAssigner', 'TaskAlignedAssigner')

    def __init__(self, *, train_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(train_cfg=train_cfg, **kwargs)
        train_cfg = train_cfg or {}
        assigner = train_cfg.get('assigner') or {}
        self._topk = assigner.get('topk', 9 if self._assigner == 'ATSSAssigner' else 13)
        self._exponents = {name: train_cfg[name] for name in ('alpha', 'beta') if name in train_cfg}
        self._smoothing = train_cfg.get('label_smoothing', 0.0)
        self._box_loss = train_cfg.get('box_loss', 'giou')
        if self._box_loss not in _BOX_LOSSES:
            raise ValueError(
                f'box_loss must be one of {", ".join(_BOX_LOSSES)}, got {self._box_loss}'
            )

    def loss_by_feat(self, cls_scores: list[Tensor], *args: Any, **kwargs: Any) -> dict:
        """Compute the losses; see `SSDLiteHead`."""
        self._level_sizes = [
            score.shape[-2] * score.shape[-1] * num
            for score, num in zip(cls_scores, self.num_base_priors, strict=True)
        ]
        return super().loss_by_feat(cls_scores, *args, **kwargs)

    def _summed_losses(
        self, priors: Tensor, logits: Tensor, deltas: Tensor, truth: tuple
    ) -> tuple[Tensor, Tensor, Tensor]:
        bboxes = decode(priors, deltas, means=self._means, stds=self._stds)
        matcher = self._matcher(priors, logits.detach(), bboxes.detach())
        labels, targets, weights = self._build_targets(priors, *truth, matcher=matcher)
        is_positive = labels < self.num_classes
        iou, generalised = paired_overlaps(bboxes, targets)
        quality = iou.detach() * is_positive * (1 - self._smoothing)
        loss_cls = quality_loss(logits, labels, quality, gamma=self._gamma) * weights
        if self._box_loss == 'giou':
            loss_bbox = ((1 - generalised) * is_positive).sum()
        else:
            codes = encode(priors, targets, **self.coding)
            loss_bbox = box_loss(deltas, codes, is_positive, beta=self._smoothl1_beta)
        return loss_cls.sum(), self._box_weight * loss_bbox, is_positive

    def _matcher(self, priors: Tensor, logits: Tensor, bboxes: Tensor) -> Matcher | None:
        """Return what matches instead of IoU thresholds; no gradient goes through it."""
        if self._assigner == 'ATSSAssigner':
            return lambda gt_bboxes, _, gt_mask, *, excluded: match_adaptive(
                priors,
                gt_bboxes,
                gt_mask,
                level_sizes=self._level_sizes,
                topk=self._topk,
                excluded=excluded,
            )
        if self._assigner == 'TaskAlignedAssigner':
            scores = logits.softmax(-1)[..., :-1]
            return partial(
                match_aligned, scores, bboxes, priors, topk=self._topk, **self._exponents
            )
        return None
