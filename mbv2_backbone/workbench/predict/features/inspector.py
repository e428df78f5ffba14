"""Record the feature maps of a prediction and compute a heatmap for each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import BaseDataElement
from torch import Tensor

from ....arch import FeatureInfo
from ....backbone import MobileNetV2Backbone
from ....common.messages import UserError
from ....det.head import SSDLiteHead
from ....weights.whole_model import build_model
from ...configs.read import task_of
from ..file_predictor import array_pipeline
from .activation import box_scores, class_activation, mask_scores, scaled_to_one

MAX_CLASSES = 4  # heatmaps at most for boxes, and as many for masks and for images


@dataclass(frozen=True)
class ClassMaps:
    """Where in the feature maps a class comes from.

    Attributes:
        field: `pred_instances` for boxes, `pred_sem_seg` for masks, `pred_scores` for images.
        label: Index of the class in that field.
        maps: By tap, `(h, w)` in [0, 1] on a common scale; only taps that its head reads.
    """

    field: str
    label: int
    maps: dict[str, Tensor]


@dataclass(frozen=True)
class Inspection:
    """The feature maps of an image, and what was found in it.

    Attributes:
        infos: Name, channels and stride of each tap.
        taps: The activations of each tap, `(C, h, w)`.
        classes: The maps of each class that was found.
        input_hw: Size of the network's input, padding included.
        image_hw: Size of the image in its upper left corner.
    """

    infos: Sequence[FeatureInfo]
    taps: Sequence[Tensor]
    classes: Sequence[ClassMaps]
    input_hw: tuple[int, int]
    image_hw: tuple[int, int]


class FeatureInspector:
    """A differentiable model: the one that predicts is folded and packed.

    Args:
        cfg: The config.
        checkpoint: Path of a checkpoint that covers the whole model.
        score_thr: Boxes below it are ignored.

    Raises:
        UserError: If the model has another backbone, or another detection head than SSDLite.
    """

    def __init__(self, cfg: Config, checkpoint: str, *, score_thr: float) -> None:
        self.task = task_of(cfg)
        self.score_thr = score_thr
        self.pipeline = array_pipeline(cfg)
        self.model = build_model(cfg, checkpoint)[0].requires_grad_(False)
        _check(self.model.backbone, MobileNetV2Backbone)
        if self.task in ('det', 'joint'):
            _check(self.model.bbox_head, SSDLiteHead)

    def __call__(self, image: np.ndarray) -> Inspection:
        """Inspect an image `(H, W, 3)` uint8 BGR."""
        packed = pseudo_collate([self.pipeline(dict(img=image, img_id=0))])
        data = self.model.data_preprocessor(packed, False)
        inputs, sample = data['inputs'], data['data_samples'][0]
        # Leaves of the graph: the effect of a tap through a later one is not counted twice.
        feats = tuple(tap.requires_grad_() for tap in self.model.backbone(inputs))
        input_hw, image_hw = tuple(inputs.shape[2:]), tuple(sample.img_shape[:2])
        infos = self.model.backbone.feature_info
        classes = [
            ClassMaps(field, label, _maps(score, feats, infos))
            for field, scores in self._scores(feats, sample, input_hw).items()
            for label, score in list(scores.items())[:MAX_CLASSES]
        ]
        return Inspection(infos, [tap[0].detach() for tap in feats], classes, input_hw, image_hw)

    def _scores(
        self, feats: tuple[Tensor, ...], sample: BaseDataElement, input_hw: tuple[int, int]
    ) -> dict[str, dict[int, Tensor]]:
        """Return the score of each label that was found, by the field of the data sample."""
        model, scores = self.model, {}
        of_neck = model.neck(feats) if self.task in ('det', 'seg') and model.with_neck else feats
        if self.task in ('det', 'joint'):
            levels = model.det_feats(feats) if self.task == 'joint' else of_neck
            scores['pred_instances'] = box_scores(
                model.bbox_head, levels, sample.metainfo, score_thr=self.score_thr
            )
        if self.task in ('seg', 'joint'):
            height, width = sample.img_shape[:2]
            share = height / input_hw[0], width / input_hw[1]
            scores['pred_sem_seg'] = mask_scores(model.decode_head(of_neck), image_share=share)
        image_head = model.head if self.task == 'cls' else getattr(model, 'cls_head', None)
        if image_head is not None:
            logits = image_head(feats)[0]
            best = logits.topk(min(MAX_CLASSES, len(logits))).indices.tolist()
            scores['pred_scores'] = {label: logits[label] for label in best}
        return scores


def _maps(
    score: Tensor, feats: tuple[Tensor, ...], infos: Sequence[FeatureInfo]
) -> dict[str, Tensor]:
    gradients = torch.autograd.grad(score, feats, retain_graph=True, allow_unused=True)
    maps = {
        info.name: class_activation(feat[0].detach(), gradient[0])
        for info, feat, gradient in zip(infos, feats, gradients, strict=True)
        if gradient is not None
    }
    return dict(zip(maps, scaled_to_one(list(maps.values())), strict=True))


def _check(module: object, expected: type) -> None:
    if not isinstance(module, expected):
        raise UserError(
            f'--features shows the taps of {expected.__name__}, but the model of the config has '
            f'{type(module).__name__} in its place; leave out --features'
        )
