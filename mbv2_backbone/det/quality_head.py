"""The SSDLite head whose scores learn how good its boxes are; it predicts as `SSDLiteHead` does."""

from __future__ import annotations

import math
from typing import Any

import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from .assigner import find_excluded, iou_matching
from .head import SSDLiteHead
from .losses import box_loss, paired_overlaps, quality_loss
from .matching import match_adaptive, match_aligned
from .targets import IGNORED, decode, encode, match, pad_boxes, take_matched

_BACKGROUND_SCORE = 0.99  # at the start, so that the many background priors are quiet
_BOX_LOSSES = ('giou', 'smooth_l1')
_ASSIGNERS = ('MaxIoUAssigner', 'ATSSAssigner', 'TaskAlignedAssigner')


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

    def __init__(self, *, train_cfg: dict | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.train_cfg = train_cfg
        train_cfg = train_cfg or {}
        assigner = dict(train_cfg.get('assigner') or {})
        self._assigner = assigner.get('type', 'MaxIoUAssigner')
        if self._assigner not in _ASSIGNERS:
            raise ValueError(
                f"the assigner's type must be one of {', '.join(_ASSIGNERS)}, got {self._assigner}"
            )
        self._ignore_iof_thr = assigner.get('ignore_iof_thr', -1)
        if self._assigner == 'MaxIoUAssigner':
            self._matching = iou_matching(assigner)
        elif self._assigner == 'ATSSAssigner':
            self._matching = dict(topk=assigner.get('topk', 9))
        else:
            exponents = {name: train_cfg[name] for name in ('alpha', 'beta') if name in train_cfg}
            self._matching = dict(topk=assigner.get('topk', 13), **exponents)
        self._gamma = train_cfg.get('gamma', 2.0)
        self._smoothing = train_cfg.get('label_smoothing', 0.0)
        self._smoothl1_beta = train_cfg.get('smoothl1_beta', 1.0)
        self._box_weight = train_cfg.get('box_weight', 2.0)
        self._box_loss = train_cfg.get('box_loss', 'giou')
        if self._box_loss not in _BOX_LOSSES:
            raise ValueError(
                f'box_loss must be one of {", ".join(_BOX_LOSSES)}, got {self._box_loss}'
            )
        # A GPU would wait for a copy of them in every step.
        for name, values in self._coding.items():
            self.register_buffer(f'_{name}', torch.tensor(values), persistent=False)

    def init_weights(self) -> None:
        """Initialise, and let every prior see background at first."""
        super().init_weights()
        odds = math.log(_BACKGROUND_SCORE / (1 - _BACKGROUND_SCORE) * self.num_classes)
        for level in self.cls_convs:
            bias = torch.zeros_like(level[-1].bias).view(-1, self.cls_out_channels)
            bias[:, -1] = odds
            level[-1].bias.data.copy_(bias.flatten())

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses in float32, over the whole batch at once; see `SSDLiteHead`."""
        priors, _ = self._priors(cls_scores, batch_img_metas)
        with torch.autocast(priors.device.type, enabled=False):
            logits, deltas = self._flatten(cls_scores, bbox_preds)
            bboxes = decode(priors, deltas, means=self._means, stds=self._stds)
            areas = [score.shape[-2] * score.shape[-1] for score in cls_scores]
            labels, targets, weights = self._targets(
                logits,
                bboxes,
                priors,
                [area * num for area, num in zip(areas, self.num_base_priors, strict=True)],
                batch_gt_instances,
                batch_gt_instances_ignore,
                self._in_padding(cls_scores, batch_img_metas),
            )
            is_positive = labels < self.num_classes
            # As in SSDLiteHead: an image without positives counts as one, over all processes.
            avg_factor = reduce_mean(is_positive.sum(1).clamp(min=1).sum().float())
            iou, generalised = paired_overlaps(bboxes, targets)
            quality = iou.detach() * is_positive * (1 - self._smoothing)
            loss_cls = quality_loss(logits, labels, quality, gamma=self._gamma) * weights
            if self._box_loss == 'giou':
                loss_bbox = ((1 - generalised) * is_positive).sum()
            else:
                codes = encode(priors, targets, **self._coding)
                loss_bbox = box_loss(deltas, codes, is_positive, beta=self._smoothl1_beta)
            return dict(
                loss_cls=loss_cls.sum() / avg_factor,
                loss_bbox=self._box_weight * loss_bbox / avg_factor,
            )

    @torch.no_grad()
    def _targets(
        self,
        logits: Tensor,
        bboxes: Tensor,
        priors: Tensor,
        level_sizes: list[int],
        gts: list[InstanceData],
        ignored: list[InstanceData | None] | None,
        in_padding: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return labels `(N, P)`, boxes `(N, P, 4)` and weights `(N, P)` of the priors."""
        gt_bboxes, gt_labels, gt_mask = pad_boxes(
            [get_box_tensor(gt.bboxes) for gt in gts], [gt.labels for gt in gts]
        )
        excluded = find_excluded(
            priors, gt_mask, ignored, in_padding, ignore_iof_thr=self._ignore_iof_thr
        )
        common = dict(excluded=excluded, **self._matching)
        if gt_mask.shape[1] == 0:
            matched = match(priors, gt_bboxes, gt_mask, excluded=excluded)
        elif self._assigner == 'MaxIoUAssigner':
            matched = match(priors, gt_bboxes, gt_mask, **common)
        elif self._assigner == 'ATSSAssigner':
            matched = match_adaptive(priors, gt_bboxes, gt_mask, level_sizes=level_sizes, **common)
        else:
            scores = logits.softmax(-1)[..., :-1]
            matched = match_aligned(scores, bboxes, priors, gt_bboxes, gt_labels, gt_mask, **common)
        labels, targets = take_matched(
            matched, gt_bboxes, gt_labels, priors, num_classes=self.num_classes
        )
        return labels, targets, (matched != IGNORED).float()
