"""Image classification for mmengine's Runner."""

from __future__ import annotations

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.nn import functional as F


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone and a head that says what the whole image shows.

    Args:
        backbone: Config of the backbone; `None` means ours up to `conv2`, as in the paper.
        head: Config of the head; `None` means `ClassifierHead`.
        data_preprocessor: Config of mmengine's `ImgDataPreprocessor`.
        mixup_alpha: Of mixup's beta distribution (https://arxiv.org/abs/1710.09412); 0 for none.
        init_cfg: mmengine's weight initialisation.

    Raises:
        ValueError: If `mixup_alpha` is negative.
    """

    with_neck = False

    def __init__(
        self,
        *,
        backbone: dict | None = None,
        head: dict | None = None,
        data_preprocessor: dict | None = None,
        mixup_alpha: float = 0.0,
        init_cfg: dict | None = None,
    ) -> None:
        if mixup_alpha < 0:
            raise ValueError(f'mixup_alpha must be 0 (no mixup) or more, got {mixup_alpha}')
        super().__init__(data_preprocessor, init_cfg)
        backbone = backbone or dict(type='MobileNetV2Backbone', out_indices='conv2')
        self.backbone = MODELS.build(backbone)
        self.head = MODELS.build(head or dict(type='ClassifierHead'))
        self.mixup_alpha = mixup_alpha

    def extract_feat(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """Return the backbone's feature maps of normalised images `(N, 3, H, W)`."""
        return self.backbone(inputs)

    def forward(
        self,
        inputs: Tensor,
        data_samples: list[BaseDataElement] | None = None,
        mode: str = 'tensor',
    ) -> dict[str, Tensor] | list[BaseDataElement] | Tensor:
        """Compute what the mode asks for.

        Args:
            inputs: Normalised images `(N, 3, H, W)`.
            data_samples: One for each image; `gt_label`, a long scalar, is needed for the loss.
            mode: `loss` for a dict of losses; `predict` for the samples with `pred_scores`, the
                probability of each class `(num_classes,)`, and `pred_label`, the likeliest one;
                `tensor` for the logits `(N, num_classes)`.
        """
        if mode == 'loss':
            targets = torch.stack([sample.gt_label for sample in data_samples])
            if self.mixup_alpha:
                share = float(np.random.beta(self.mixup_alpha, self.mixup_alpha))
                targets = F.one_hot(targets, self.head.num_classes).to(inputs.dtype)
                inputs, targets = mix(inputs, targets, share)
            return self.head.loss(self.extract_feat(inputs), targets)
        logits = self.head(self.extract_feat(inputs))
        if mode == 'tensor':
            return logits
        samples = data_samples or [BaseDataElement() for _ in logits]
        for sample, scores in zip(samples, logits.float().softmax(1), strict=True):
            sample.pred_scores, sample.pred_label = scores, scores.argmax()
        return samples


def mix(inputs: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Mix each image and its target with those of another one of the batch.

    Args:
        inputs: `(N, 3, H, W)`.
        targets: The share of each class, `(N, C)`.
        share: Of the image itself, in [0, 1]; the other one has the rest.
    """
    order = torch.randperm(len(inputs), device=inputs.device)
    return inputs[order].lerp(inputs, share), targets[order].lerp(targets, share)
