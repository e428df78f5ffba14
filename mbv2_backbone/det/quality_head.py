"""SSDLite head trained with quality focal loss; it predicts as `SSDLiteHead` does."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmdet.registry import MODELS
from torch import Tensor

from .head import SSDLiteHead
from .losses import paired_overlaps, quality_loss
from .targets import decode

_BACKGROUND_SCORE = 0.99  # initial score of background, so that its many priors have a low loss


@MODELS.register_module()
class QualitySSDLiteHead(SSDLiteHead):
    """SSDLite's convolutions and prediction, trained by quality focal loss and generalised IoU.

    The score of a matched prior learns the IoU of the box that it predicts (Generalized Focal
    Loss, section 3.2), over all priors instead of the hardest ones. Parameters, checkpoints,
    exports and everything after training are those of `SSDLiteHead`.

    Args:
        train_cfg: As for `SSDLiteHead`, and `gamma` (2) of the quality focal loss and the
            `box_weight` (2) of generalised IoU. `neg_pos_ratio` and `smoothl1_beta` are unused.
        **kwargs: As for `SSDLiteHead`.

    Raises:
        ValueError: With `use_sigmoid`, and as `SSDLiteHead` does.
    """

    def __init__(self, *, train_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(train_cfg=train_cfg, **kwargs)
        if self.use_sigmoid:
            raise ValueError('QualitySSDLiteHead is trained with a softmax; leave out use_sigmoid')
        train_cfg = train_cfg or {}
        self._gamma = train_cfg.get('gamma', 2.0)
        self._box_weight = train_cfg.get('box_weight', 2.0)
        # A GPU would wait for a copy of them in every step.
        for name, values in self.coding.items():
            self.register_buffer(f'_{name}', torch.tensor(values), persistent=False)

    def init_weights(self) -> None:
        """Initialise, so that every prior predicts background at first."""
        super().init_weights()
        odds = math.log(_BACKGROUND_SCORE / (1 - _BACKGROUND_SCORE) * self.num_classes)
        for level in self.cls_convs:
            bias = torch.zeros_like(level[-1].bias).view(-1, self.cls_out_channels)
            bias[:, -1] = odds
            level[-1].bias.data.copy_(bias.flatten())

    def _summed_losses(
        self, priors: Tensor, logits: Tensor, deltas: Tensor, truth: tuple
    ) -> tuple[Tensor, Tensor, Tensor]:
        labels, targets, weights = self._build_targets(priors, *truth)
        is_positive = labels < self.num_classes
        bboxes = decode(priors, deltas, means=self._means, stds=self._stds)
        iou, generalised = paired_overlaps(bboxes, targets)
        quality = iou.detach() * is_positive
        loss_cls = quality_loss(logits, labels, quality, gamma=self._gamma) * weights
        loss_bbox = ((1 - generalised) * is_positive).sum()
        return loss_cls.sum(), self._box_weight * loss_bbox, is_positive
