"""Boxes, masks and the class of the image from one backbone pass."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmdet.models import SingleStageDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import PixelData
from mmseg.models.utils import resize
from mmseg.structures import SegDataSample
from torch import Tensor


@MODELS.register_module()
class JointModel(SingleStageDetector):
    """A detection and a segmentation head, and maybe a classifier, on one backbone's feature maps.

    Boxes come from an mmdet head, masks from an mmseg head; each keeps its own losses, which are
    added. The classifier learns from samples with `gt_label`, see `LoadImageLabel`. mmdet's
    conventions apply: `DetDataSample`, `DetDataPreprocessor` (with `pad_seg=True`), `gt_sem_seg`
    from `LoadAnnotations(with_seg=True)`.

    Args:
        backbone: Config of the backbone.
        neck: Config of the neck between the backbone and `bbox_head`; `None` for none.
        bbox_head: Config of the detection head.
        decode_head: Config of the segmentation head (`mmseg.DeepLabV3Head`); its `in_index` counts
            the backbone's feature maps.
        det_indices: Which of the backbone's feature maps the neck (or `bbox_head`) takes.
        cls_head: Config of a `ClassifierHead`, which takes the last feature map; `None` for none.
        **kwargs: As for `SingleStageDetector`.
    """

    def __init__(
        self,
        *,
        backbone: dict,
        neck: dict | None = None,
        bbox_head: dict,
        decode_head: dict,
        det_indices: Sequence[int] = (0, 1),
        cls_head: dict | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(backbone=backbone, neck=neck, bbox_head=bbox_head, **kwargs)
        self.decode_head = MODELS.build(decode_head)
        self.det_indices = tuple(det_indices)
        self.cls_head = MODELS.build(cls_head) if cls_head else None

    def extract_feat(self, batch_inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the backbone's feature maps of normalised images `(N, 3, H, W)`."""
        return tuple(self.backbone(batch_inputs))

    def det_feats(self, feats: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the inputs of the detection head, from the backbone's feature maps."""
        chosen = tuple(feats[i] for i in self.det_indices)
        return self.neck(chosen) if self.with_neck else chosen

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Compute the losses of all heads; `seg.` and `image.` precede those of the last two."""
        feats = self.extract_feat(batch_inputs)
        losses = self.bbox_head.loss(self.det_feats(feats), batch_data_samples)
        masks = [
            SegDataSample(
                metainfo=sample.metainfo,
                gt_sem_seg=PixelData(data=sample.gt_sem_seg.sem_seg.long()),
            )
            for sample in batch_data_samples
        ]
        seg_losses = self.decode_head.loss(feats, masks, self.train_cfg)
        losses |= {f'seg.{name}': value for name, value in seg_losses.items()}
        return losses | self._image_losses(feats[-1], batch_data_samples)

    def _image_losses(self, feats: Tensor, samples: list[DetDataSample]) -> dict[str, Tensor]:
        if self.cls_head is None:
            return {}
        labelled = [i for i, sample in enumerate(samples) if 'gt_label' in sample]
        if not labelled:  # several GPUs need a gradient of every weight
            return {'image.loss_cls': 0 * self.cls_head((feats,)).sum()}
        targets = torch.tensor([int(samples[i].gt_label) for i in labelled], device=feats.device)
        losses = self.cls_head.loss((feats[labelled],), targets)
        return {f'image.{name}': value for name, value in losses.items()}

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Predict boxes and masks, and the class of each image if there is a classifier.

        Args:
            batch_inputs: Normalised images `(N, 3, H, W)`.
            batch_data_samples: One sample per image; see mmdet.
            rescale: Give boxes and masks in pixels of the original images.

        Returns:
            The samples, each with `pred_instances` and with `pred_sem_seg.sem_seg`, the class
            `(1, H, W)` of each pixel, long; with a classifier also with `pred_scores`, the
            probability of each class `(C,)`, and `pred_label`.
        """
        feats = self.extract_feat(batch_inputs)
        found = self.bbox_head.predict(self.det_feats(feats), batch_data_samples, rescale=rescale)
        samples = self.add_pred_to_datasample(batch_data_samples, found)
        input_hw = tuple(batch_inputs.shape[2:])
        logits = self.decode_head.predict(feats, [dict(img_shape=input_hw)], self.test_cfg)
        for sample, image_logits in zip(samples, logits, strict=True):
            labels = self._label_map(image_logits, sample, rescale=rescale)
            sample.pred_sem_seg = PixelData(sem_seg=labels[None])
        if self.cls_head is not None:
            probabilities = self.cls_head(feats).float().softmax(1)
            for sample, scores in zip(samples, probabilities, strict=True):
                sample.pred_scores, sample.pred_label = scores, scores.argmax()
        return samples

    def _label_map(self, logits: Tensor, sample: DetDataSample, *, rescale: bool) -> Tensor:
        """Cut the padding off logits `(C, H, W)`, resize them and choose the best class."""
        height, width = sample.img_shape[:2]
        # With the classes of a pixel adjacent in memory both steps are several times as fast.
        logits = logits[None, :, :height, :width].contiguous(memory_format=torch.channels_last)
        if rescale:
            logits = resize(
                logits,
                size=sample.ori_shape[:2],
                mode='bilinear',
                align_corners=self.decode_head.align_corners,
                warning=False,
            )
        return logits[0].permute(1, 2, 0).argmax(-1)

    def _forward(
        self,
        batch_inputs: Tensor,
        batch_data_samples: list[DetDataSample] | None = None,  # noqa: ARG002
    ) -> tuple[list[Tensor] | Tensor, ...]:
        """Return class scores and box codes of each level, and the logits of the other heads."""
        feats = self.extract_feat(batch_inputs)
        cls_scores, bbox_preds = self.bbox_head(self.det_feats(feats))
        found = cls_scores, bbox_preds, self.decode_head(feats)
        return found if self.cls_head is None else (*found, self.cls_head(feats))
