"""Detectors of other packages, registered for the configs in `configs/baselines`."""

from __future__ import annotations

from typing import Any

from mmdet.models.dense_heads import SSDHead
from mmdet.models.detectors import BaseDetector
from mmdet.registry import MODELS
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from .inputs import Size
from .peers import torchvision_detector


@MODELS.register_module()
class FixedSSDHead(SSDHead):
    """mmdet's `SSDHead` that can predict; nothing else is changed.

    The stock one skips its parent's constructor and lacks `loss_cls`, which predicting looks at.

    Args:
        *args: As for `SSDHead`.
        **kwargs: As for `SSDHead`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not hasattr(self, 'loss_cls'):
            self.loss_cls = None


@MODELS.register_module()
class TorchvisionSSDLite(BaseDetector):
    """torchvision's `ssdlite320_mobilenet_v3_large` for mmdet's runner, with random weights.

    Normalisation, matching, losses and NMS are torchvision's. Images come in RGB, from 0 to 1.

    Args:
        num_classes: Classes without the background.
        size: Height and width that torchvision resizes to; images of that size stay as they are.
        data_preprocessor: As for mmdet's detectors.
        init_cfg: As for mmdet's detectors.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        size: Size = (320, 320),
        data_preprocessor: dict | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.num_classes = num_classes
        self.network = torchvision_detector(num_classes, size)

    def extract_feat(self, batch_inputs: Tensor) -> list[Tensor]:
        """Return the feature maps of images `(N, 3, H, W)`."""
        return list(self.network.backbone(batch_inputs).values())

    def _forward(
        self,
        batch_inputs: Tensor,
        batch_data_samples: list[DetDataSample] | None = None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        return self.network.head(self.extract_feat(batch_inputs))

    def loss(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample]
    ) -> dict[str, Tensor]:
        """Return torchvision's two losses.

        Args:
            batch_inputs: `(N, 3, H, W)`.
            batch_data_samples: With `gt_instances`; what `ignored_instances` holds is left out.
        """
        truths = [sample.gt_instances for sample in batch_data_samples]
        # 0 is the background in torchvision.
        targets = [dict(boxes=truth.bboxes, labels=truth.labels + 1) for truth in truths]
        losses = self.network(list(batch_inputs), targets)
        return {f'loss_{name}': value for name, value in losses.items()}

    def predict(
        self, batch_inputs: Tensor, batch_data_samples: list[DetDataSample], rescale: bool = True
    ) -> list[DetDataSample]:
        """Add the boxes that torchvision finds to the data samples.

        Args:
            batch_inputs: `(N, 3, H, W)`.
            batch_data_samples: With `scale_factor`, width and height.
            rescale: Whether the boxes are in pixels of the original images.
        """
        found = []
        for sample, result in zip(
            batch_data_samples, self.network(list(batch_inputs)), strict=True
        ):
            boxes = result['boxes']
            if rescale:
                boxes = boxes / boxes.new_tensor(sample.scale_factor).repeat(2)
            found.append(
                InstanceData(bboxes=boxes, scores=result['scores'], labels=result['labels'] - 1)
            )
        return self.add_pred_to_datasample(batch_data_samples, found)
