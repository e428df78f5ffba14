"""SSDLite head trained with quality focal loss; it predicts as `SSDLiteHead` does."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from .assigner import Matcher
from .head import SSDLiteHead
from .losses import box_loss, paired_overlaps, quality_loss
from .matching import match_adaptive, match_aligned
from .targets import decode, encode

_BACKGROUND_SCORE = 0.99  # at the start, so that the many background priors are quiet
_BOX_LOSSES = ('giou', 'smooth_l1')


@MODELS.register_module()
class QualitySSDLiteHead(SSDLiteHead):
    """SSDLite's convolutions and prediction, trained by quality focal loss and generalised IoU.

    The score of a matched prior learns the IoU of the box that it predicts (Generalized Focal
    Loss, section 3.2), over all priors in place of the hardest ones. Parameters, checkpoints,
    exports and everything after training are those of `SSDLiteHead`.

    Args:
        train_cfg: `assigner`: mmdet's `MaxIoUAssigner` with its arguments (the default, at 0.5),
            `ATSSAssigner` with `topk` (9) or `TaskAlignedAssigner` with `topk` (13); for the last
            one `alpha` (1) and `beta` (6), as in mmdet's TOOD configs. `gamma` (2) of the quality
            focal loss, `label_smoothing` (0), the part of a score's target that goes to the
            background, `box_loss` ('giou', or 'smooth_l1' as in SSD, with `smoothl1_beta` (1)) and
            its `box_weight` (2). mmdet's SSD value `neg_pos_ratio` has no use here.
        **kwargs: As for `SSDLiteHead`.

    Raises:
        ValueError: If the assigner or the box loss is another one.
    """

    assigners = ('MaxIoUAssigner', 'ATSSAssigner', 'TaskAlignedAssigner')

    def __init__(self, *, train_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(train_cfg=train_cfg, **kwargs)
        train_cfg = train_cfg or {}
        self._topk = (train_cfg.get('assigner') or {}).get(
            'topk', 9 if self._assigner == 'ATSSAssigner' else 13
        )
        self._exponents = {name: train_cfg[name] for name in ('alpha', 'beta') if name in train_cfg}
        self._gamma = train_cfg.get('gamma', 2.0)
        self._smoothing = train_cfg.get('label_smoothing', 0.0)
        self._box_weight = train_cfg.get('box_weight', 2.0)
        self._box_loss = train_cfg.get('box_loss', 'giou')
        if self._box_loss not in _BOX_LOSSES:
            raise ValueError(
                f'box_loss must be one of {", ".join(_BOX_LOSSES)}, got {self._box_loss}'
            )
        # A GPU would wait for a copy of them in every step.
        for name, values in self.coding.items():
            self.register_buffer(f'_{name}', torch.tensor(values), persistent=False)

    def init_weights(self) -> None:
        """Initialise, and let every prior see background at first."""
        super().init_weights()
        odds = math.log(_BACKGROUND_SCORE / (1 - _BACKGROUND_SCORE) * self.num_classes)
        for level in self.cls_convs:
            bias = torch.zeros_like(level[-1].bias).view(-1, self.cls_out_channels)
            bias[:, -1] = odds
            level[-1].bias.data.copy_(bias.flatten())

    def _summed_losses(
        self,
        priors: Tensor,
        logits: Tensor,
        deltas: Tensor,
        truth: tuple,
        level_sizes: list[int],
    ) -> tuple[Tensor, Tensor, Tensor]:
        bboxes = decode(priors, deltas, means=self._means, stds=self._stds)
        matcher = self._matcher(priors, logits.detach(), bboxes.detach(), level_sizes)
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

    def _matcher(
        self, priors: Tensor, logits: Tensor, bboxes: Tensor, level_sizes: list[int]
    ) -> Matcher | None:
        """Return what matches in place of IoU thresholds; no gradient goes through it."""
        if self._assigner == 'ATSSAssigner':
            return lambda gt_bboxes, _, gt_mask, *, excluded: match_adaptive(
                priors,
                gt_bboxes,
                gt_mask,
                level_sizes=level_sizes,
                topk=self._topk,
                excluded=excluded,
            )
        if self._assigner == 'TaskAlignedAssigner':
            scores = logits.softmax(-1)[..., :-1]
            return partial(
                match_aligned, scores, bboxes, priors, topk=self._topk, **self._exponents
            )
        return None
