"""The reference for an export: the PyTorch model, run by its toolbox."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from torch import nn
from torch.nn import functional as F

from ...deploy.predictor import Prediction
from ...det.targets import decode
from ..configs.plan import apply_steps
from ..drawing.painter import mask_tensor
from ..predict.exported_model import keep_image_size
from ..predict.file_predictor import array_pipeline
from .geometry import Geometry
from .graph import box_features, heads_of, mask_logits


class Reference:
    """The unfolded model, in eval mode, with the config's own test pipeline and preprocessor."""

    def __init__(self, cfg: Config, model: nn.Module, geometry: Geometry) -> None:
        self.model = model
        self.pipeline: Compose = array_pipeline(apply_steps(cfg, [keep_image_size()]))
        self.geometry = geometry

    def _batch(self, images: Sequence[np.ndarray]) -> dict:
        packed = []
        for i, image in enumerate(images):
            item = self.pipeline(dict(img=np.ascontiguousarray(image[..., ::-1]), img_id=i))
            if self.geometry.input_size != self.geometry.resized_size:
                self._resize(item)
            packed.append(item)
        return self.model.data_preprocessor(pseudo_collate(packed), False)

    def _resize(self, item: dict) -> None:
        """Resize without OpenCV's rounding, which no other runtime reproduces; in place."""
        (height, width), size = self.geometry.input_size, self.geometry.resized_size
        item['inputs'] = F.interpolate(
            item['inputs'][None].float(), size=size, mode='bilinear', align_corners=False
        )[0]
        factor = (size[1] / width, size[0] / height)
        item['data_samples'].set_metainfo(dict(img_shape=size, scale_factor=factor))

    @torch.no_grad()
    def raw(self, images: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return scores, boxes and logits of images as `Metadata.input_type` says."""
        data = self._batch(images)
        features = self.model.extract_feat(data['inputs'])
        box_head, mask_head, image_head = heads_of(self.model)
        outputs = {}
        if box_head is not None:
            outs = box_head(tuple(box_features(self.model, features)))
            logits, deltas = box_head.flatten_outputs(*outs)
            priors, _ = box_head.batch_priors(outs[0], [dict(img_shape=self.geometry.network_size)])
            boxes = decode(priors, deltas, **box_head.coding)
            (height, width), old = self.geometry.input_size, self.geometry.resized_size
            if box_head.clips_before_nms():
                boxes = boxes.clamp(min=0).minimum(boxes.new_tensor([old[1], old[0]] * 2))
            outputs['scores'] = box_head.scores(logits)
            outputs['boxes'] = boxes * boxes.new_tensor([width / old[1], height / old[0]] * 2)
        if mask_head is not None:
            outputs['logits'] = mask_logits(mask_head, features, self.geometry)
        if image_head is not None:
            outputs['class_logits'] = image_head(features)
        return {name: value.numpy() for name, value in outputs.items()}

    @torch.no_grad()
    def predict(self, images: Sequence[np.ndarray]) -> list[Prediction]:
        """Return what the toolbox predicts on images as `Metadata.input_type` says."""
        data = self._batch(images)
        samples = self.model(**data, mode='predict')
        return [as_prediction(sample) for sample in samples]


def as_prediction(sample: object) -> Prediction:
    """Convert mmdet's, mmseg's or a classifier's data sample to what `Predictor` returns."""
    boxes, scores, labels = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, int)
    if 'pred_instances' in sample:
        found = sample.pred_instances.numpy()
        boxes, scores, labels = found.bboxes, found.scores, found.labels
    mask = mask_tensor(sample, 'pred_sem_seg')
    mask = None if mask is None else mask.numpy()
    size_hw = tuple(sample.ori_shape[:2])
    probabilities = sample.pred_scores.numpy() if 'pred_scores' in sample else None
    return Prediction(boxes, scores, labels, (), mask, size_hw, probabilities)
