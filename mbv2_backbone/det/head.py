"""The SSDLite head for mmdet: what connects its convolutions to priors, targets and losses."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.registry import MODELS, TASK_UTILS
from mmdet.utils import reduce_mean
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor

from ..blocks import make_lean
from .assigner import TargetBuilder
from .head_convs import depthwise_predictors
from .losses import box_loss, classification_loss
from .postprocess import (
    class_scores,
    clip_to_images,
    flatten_levels,
    is_plain_nms,
    select_candidates,
    split_by_image,
    suppress_and_split,
)
from .priors import build_priors, find_padding, input_size_of
from .targets import decode, encode


@MODELS.register_module()
class SSDLiteHead(BaseDenseHead):
    """SSDLite (MobileNetV2 paper, section 6.2): depthwise separable convolutions on SSD.

    Takes the arguments of mmdet's `SSDHead` and has its parameter names (`cls_convs`,
    `reg_convs`), so that an mmdet SSDLite config needs only the type changed and its checkpoint
    loads unchanged.

    Args:
        num_classes: Number of classes, without background.
        in_channels: Channels of each feature map.
        anchor_generator: Config of the priors: `SSDLitePriorGenerator` (the default, with the
            paper's layout) or one of mmdet's.
        bbox_coder: Config of the box coding; `target_means` and `target_stds` are used.
        use_depthwise: Must be true; mmdet's configs pass it.
        use_sigmoid: Score each class by a sigmoid of its own and have no background, as the
            paper's code does, instead of a softmax over the classes and the background.
        norm_cfg: Norm of the depthwise convolutions; `None` means `dict(type='BN')`.
        act_cfg: Activation of the depthwise convolutions; `None` means `dict(type='LeanReLU6')`.
        train_cfg: As in mmdet's SSD configs: `assigner` (`MaxIoUAssigner`), `neg_pos_ratio`,
            `smoothl1_beta`. Missing keys have mmdet's SSDLite values.
        test_cfg: `score_thr`, `nms_pre` (per level), `nms`, `min_bbox_size`, `max_per_img`; with
            `clip_after_nms`, boxes are clipped to the image after NMS, and those left without area
            dropped, as TensorFlow's Object Detection API does; otherwise before it.
        init_cfg: Weight initialisation; `None` means truncated normal, std 0.03, as in the
            paper's configuration.

    Attributes:
        coding: `means` and `stds` of the box codes, four numbers each, as `encode` and `decode`
            take them.

    Raises:
        ValueError: If `in_channels` does not fit the priors' levels, the assigner is not
            `MaxIoUAssigner`, or `use_depthwise` is false.
    """

    assigners = ('MaxIoUAssigner',)

    def __init__(
        self,
        *,
        num_classes: int = 80,
        in_channels: Sequence[int] = (576, 1280, 512, 256, 256, 128),
        anchor_generator: dict | None = None,
        bbox_coder: dict | None = None,
        use_depthwise: bool = True,
        use_sigmoid: bool = False,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        train_cfg: dict | None = None,
        test_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.03))
        if not use_depthwise:
            raise ValueError("SSDLiteHead is depthwise; for the plain head use mmdet's SSDHead")
        if num_classes < 1:
            raise ValueError(f'num_classes must be 1 or more, got {num_classes}')
        self.num_classes = num_classes
        self.use_sigmoid = use_sigmoid
        self.cls_out_channels = num_classes + (0 if use_sigmoid else 1)
        self.in_channels = tuple(in_channels)
        self.prior_generator = build_priors(anchor_generator or dict(type='SSDLitePriorGenerator'))
        if len(self.in_channels) != self.prior_generator.num_levels:
            raise ValueError(
                f'in_channels names {len(self.in_channels)} feature maps, but the priors have '
                f'{self.prior_generator.num_levels} levels; make them equal'
            )
        self.num_base_priors = self.prior_generator.num_base_priors
        self.bbox_coder = TASK_UTILS.build(
            bbox_coder or dict(type='DeltaXYWHBBoxCoder', target_stds=(0.1, 0.1, 0.2, 0.2))
        )
        self.coding = dict(means=self.bbox_coder.means, stds=self.bbox_coder.stds)
        self.train_cfg = train_cfg
        self.test_cfg = test_cfg
        train_cfg = train_cfg or {}
        assigner = train_cfg.get('assigner') or {}
        self._assigner = assigner.get('type', self.assigners[0])
        if self._assigner not in self.assigners:
            raise ValueError(
                f"the assigner's type must be one of {', '.join(self.assigners)}, got "
                f'{self._assigner}'
            )
        self._build_targets = TargetBuilder(assigner, num_classes=num_classes)
        self._neg_pos_ratio = train_cfg.get('neg_pos_ratio', 3)
        self._smoothl1_beta = train_cfg.get('smoothl1_beta', 1.0)
        layers = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        maps = list(zip(self.in_channels, self.num_base_priors, strict=True))
        self.cls_convs = depthwise_predictors(maps, self.cls_out_channels, **layers)
        self.reg_convs = depthwise_predictors(maps, 4, **layers)
        make_lean(self)
        self._prior_cache: dict[tuple, tuple[Tensor, Tensor]] = {}

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """Predict on each feature map.

        Args:
            x: For each level `(N, in_channels, H, W)`.

        Returns:
            Class logits `(N, A * C, H, W)` and box codes `(N, A * 4, H, W)` for each level. C is
            `num_classes` with sigmoids; else one more, and the last is the background.
        """
        cls_scores = [conv(feature) for conv, feature in zip(self.cls_convs, x, strict=True)]
        bbox_preds = [conv(feature) for conv, feature in zip(self.reg_convs, x, strict=True)]
        return cls_scores, bbox_preds

    def loss_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        batch_gt_instances: list[InstanceData],
        batch_img_metas: list[dict],
        batch_gt_instances_ignore: list[InstanceData | None] | None = None,
    ) -> dict[str, Tensor]:
        """Compute the losses in float32, over the whole batch at once.

        Args:
            cls_scores: What `forward` returned.
            bbox_preds: What `forward` returned.
            batch_gt_instances: For each image `bboxes` (xyxy, pixels of the input) and `labels`.
                A box that is not finite or has no area is dropped.
            batch_img_metas: For each image `batch_input_shape` and `pad_shape`.
            batch_gt_instances_ignore: For each image the `bboxes` of ignored regions (crowds).

        Returns:
            `loss_cls` and `loss_bbox`, scalars.
        """
        priors, _ = self.batch_priors(cls_scores, batch_img_metas)
        with torch.autocast(priors.device.type, enabled=False):
            loss_cls, loss_bbox, is_positive = self._summed_losses(
                priors,
                *self.flatten_outputs(cls_scores, bbox_preds),
                (
                    batch_gt_instances,
                    batch_gt_instances_ignore,
                    find_padding(self.prior_generator, cls_scores, batch_img_metas),
                ),
            )
            # mmdet counts an image without positives as one. Gradients are averaged over processes,
            # so the mean of their factors gives the gradients of one process with all the images.
            avg_factor = reduce_mean(is_positive.sum(1).clamp(min=1).sum().float())
            return dict(loss_cls=loss_cls / avg_factor, loss_bbox=loss_bbox / avg_factor)

    def _summed_losses(
        self, priors: Tensor, logits: Tensor, deltas: Tensor, truth: tuple
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return both losses, summed over the batch, and which priors are positive, `(N, P)`.

        Args:
            priors: `(P, 4)` boxes xyxy in pixels.
            logits: `(N, P, cls_out_channels)`, float32.
            deltas: `(N, P, 4)` box codes, float32.
            truth: What `TargetBuilder` takes besides the priors.
        """
        labels, bboxes, weights = self._build_targets(priors, *truth)
        is_positive = labels < self.num_classes
        codes = encode(priors, bboxes, **self.coding)
        return (
            classification_loss(
                logits,
                labels,
                weights,
                neg_pos_ratio=self._neg_pos_ratio,
                use_sigmoid=self.use_sigmoid,
            ),
            box_loss(deltas, codes, is_positive, beta=self._smoothl1_beta),
            is_positive,
        )

    def batch_priors(
        self, cls_scores: list[Tensor], batch_img_metas: list[dict]
    ) -> tuple[Tensor, Tensor]:
        """Return the priors of a batch, level by level.

        Args:
            cls_scores: What `forward` returned; only the sizes are used.
            batch_img_metas: In the first image `batch_input_shape`, `pad_shape` or `img_shape`, in
                this order, is `(height, width)` of the input in pixels.

        Returns:
            Boxes `(P, 4)` xyxy in pixels of the input, and the level `(P,)` of each, cached
            for the next batch, so do not change them in place.
        """
        sizes = tuple(tuple(score.shape[-2:]) for score in cls_scores)
        key = (sizes, input_size_of(batch_img_metas), cls_scores[0].device)
        if key not in self._prior_cache:
            levels = self.prior_generator.grid_priors(sizes, input_size=key[1], device=key[2])
            level_of = [torch.full_like(p[:, 0], i, dtype=torch.long) for i, p in enumerate(levels)]
            self._prior_cache = {key: (torch.cat(levels), torch.cat(level_of))}
        return self._prior_cache[key]

    def flatten_outputs(
        self, cls_scores: list[Tensor], bbox_preds: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Join what `forward` returned over the levels, in the order of `batch_priors`.

        Returns:
            Logits `(N, P, cls_out_channels)` and box codes `(N, P, 4)`, both float32.
        """
        logits = flatten_levels(cls_scores, self.cls_out_channels)
        return logits, flatten_levels(bbox_preds, 4)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the classes' scores `(..., num_classes)` in [0, 1]."""
        return class_scores(logits, use_sigmoid=self.use_sigmoid)

    def clips_before_nms(self, cfg: dict | None = None) -> bool:
        """Tell whether boxes are clipped to the image before NMS, by `cfg` or else `test_cfg`."""
        cfg = cfg or self.test_cfg or {}
        return self.bbox_coder.clip_border and not cfg.get('clip_after_nms', False)

    def predict_by_feat(
        self,
        cls_scores: list[Tensor],
        bbox_preds: list[Tensor],
        score_factors: None = None,  # noqa: ARG002
        batch_img_metas: list[dict] | None = None,
        cfg: ConfigDict | None = None,
        rescale: bool = False,
        with_nms: bool = True,
    ) -> list[InstanceData]:
        """Convert the outputs of `forward` to detections.

        Args:
            cls_scores: What `forward` returned.
            bbox_preds: What `forward` returned.
            score_factors: Not used; part of mmdet's interface.
            batch_img_metas: For each image `img_shape`, `batch_input_shape` and, to rescale,
                `scale_factor`.
            cfg: Replaces `test_cfg`.
            rescale: Give boxes in pixels of the original image.
            with_nms: Suppress overlapping boxes of a class.

        Returns:
            For each image `bboxes` `(D, 4)` xyxy, `scores` `(D,)` and `labels` `(D,)`.
        """
        cfg = ConfigDict(cfg or self.test_cfg or {})
        priors, level_of = self.batch_priors(cls_scores, batch_img_metas)
        with torch.autocast(priors.device.type, enabled=False), torch.no_grad():
            logits, deltas = self.flatten_outputs(cls_scores, bbox_preds)
            found = select_candidates(
                logits,
                level_of,
                score_thr=cfg.get('score_thr', 0.0),
                max_per_level=cfg.get('nms_pre', -1),
                use_sigmoid=self.use_sigmoid,
            )
            boxes = decode(priors[found.prior], deltas[found.image, found.prior], **self.coding)
            if cfg.get('clip_after_nms', False) and not (with_nms and is_plain_nms(cfg.get('nms'))):
                raise ValueError(
                    "clip_after_nms needs test_cfg.nms=dict(type='nms', iou_threshold=…)"
                )
            if self.clips_before_nms(cfg):
                boxes = clip_to_images(boxes, found.image, batch_img_metas)
            if with_nms and is_plain_nms(cfg.get('nms')):
                return suppress_and_split(
                    boxes,
                    found,
                    batch_img_metas,
                    cfg,
                    num_classes=self.num_classes,
                    rescale=rescale,
                )
            results = split_by_image(boxes, found, len(batch_img_metas))
            return [
                self._bbox_post_process(result, cfg, rescale, with_nms, meta)
                for result, meta in zip(results, batch_img_metas, strict=True)
            ]
