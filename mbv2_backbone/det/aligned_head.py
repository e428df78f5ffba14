"""The SSDLite head that is trained by task-aligned matching; it predicts as `SSDLiteHead` does."""

from __future__ import annotations

import math

import torch
from mmdet.registry import MODELS
from mmdet.structures.bbox import get_box_tensor
from mmdet.utils import reduce_mean
from mmengine.structures import InstanceData
from torch import Tensor

from .aligned import match_aligned, overlap_loss, quality_loss
from .assigner import find_excluded
from .head import SSDLiteHead
from .targets import BACKGROUND, IGNORED, decode, pad_boxes

_BACKGROUND_SCORE = 0.99  # at the start, so that the many background priors are quiet


@MODELS.register_module()
class AlignedSSDLiteHead(SSDLiteHead):
    """SSDLite's convolutions and prediction, trained as TOOD and Generalized Focal Loss train.

    A prior is matched by what it predicts in place of its shape's IoU, its class score learns the
    IoU of its box, and the box learns by generalised IoU. Parameters, checkpoints, exports and
    everything after training are those of `SSDLiteHead`.

    Args:
        train_cfg: `assigner` (`type='TaskAlignedAssigner'` and `topk`, 13), `alpha` (1) and
            `beta` (6), as in mmdet's TOOD configs; `gamma` (2) of the quality focal loss,
            `box_weight` (2) of the box loss; `ignore_iof_thr` (-1: crowds count as background).
            mmdet's SSD values `neg_pos_ratio` and `smoothl1_beta` have no use here.
        **kwargs: As for `SSDLiteHead`.

    Raises:
        ValueError: If the assigner is another one.
    """

    def __init__(self, *, train_cfg: dict | None = None, **kwargs: object) -> None:
        super().__init__(**kwargs)
        self.train_cfg = train_cfg
        train_cfg = train_cfg or {}
        assigner = train_cfg.get('assigner') or dict(type='TaskAlignedAssigner')
        if assigner.get('type') != 'TaskAlignedAssigner':
            raise ValueError(
                f"the assigner's type must be TaskAlignedAssigner, got {assigner.get('type')}; "
                f'SSDLiteHead takes MaxIoUAssigner'
            )
        self._matching = dict(
            topk=assigner.get('topk', 13),
            alpha=train_cfg.get('alpha', 1.0),
            beta=train_cfg.get('beta', 6.0),
        )
        # A GPU would wait for a copy of them in every step.
        for name, values in self._coding.items():
            self.register_buffer(f'_{name}', torch.tensor(values), persistent=False)
        self._gamma = train_cfg.get('gamma', 2.0)
        self._box_weight = train_cfg.get('box_weight', 2.0)
        self._ignore_iof_thr = train_cfg.get('ignore_iof_thr', -1)

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
            labels, quality, targets, weights = self._targets(
                logits.detach(),
                bboxes.detach(),
                priors,
                batch_gt_instances,
                batch_gt_instances_ignore,
                self._in_padding(cls_scores, batch_img_metas),
            )
            # Averaged over processes, as in SSDLiteHead.
            avg_factor = reduce_mean(quality.sum()).clamp(min=1)
            loss_cls = quality_loss(logits, labels, quality, gamma=self._gamma) * weights
            loss_bbox = self._box_weight * overlap_loss(bboxes, targets, quality)
            return dict(loss_cls=loss_cls.sum() / avg_factor, loss_bbox=loss_bbox / avg_factor)

    @torch.no_grad()
    def _targets(
        self,
        logits: Tensor,
        bboxes: Tensor,
        priors: Tensor,
        gts: list[InstanceData],
        ignored: list[InstanceData | None] | None,
        in_padding: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return labels, qualities `(N, P)`, boxes `(N, P, 4)`, weights `(N, P)` of the priors."""
        gt_bboxes, gt_labels, gt_mask = pad_boxes(
            [get_box_tensor(gt.bboxes) for gt in gts], [gt.labels for gt in gts]
        )
        excluded = find_excluded(
            priors, gt_mask, ignored, in_padding, ignore_iof_thr=self._ignore_iof_thr
        )
        if gt_mask.shape[1] == 0:
            labels = torch.full_like(logits[..., 0], self.num_classes, dtype=torch.long)
            weights = logits.new_ones(labels.shape)
            if excluded is not None:
                weights = (~excluded).float()
            return labels, torch.zeros_like(weights), bboxes, weights
        matched, quality = match_aligned(
            logits.softmax(-1)[..., :-1],
            bboxes,
            priors,
            gt_bboxes,
            gt_labels,
            gt_mask,
            excluded=excluded,
            **self._matching,
        )
        index = matched.clamp(min=0)
        labels = torch.where(matched > BACKGROUND, gt_labels.gather(1, index), self.num_classes)
        targets = gt_bboxes.gather(1, index[..., None].expand(-1, -1, 4))
        return labels, quality, targets, (matched != IGNORED).float()
