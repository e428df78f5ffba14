"""Pixel-wise losses, averaged without synchronising with the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F


def pixel_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    *,
    ignore_index: int = 255,
    class_weight: Tensor | None = None,
    pixel_weight: Tensor | None = None,
) -> Tensor:
    """Average softmax cross entropy over the labelled pixels.

    Args:
        logits: `(N, C, H, W)`.
        labels: `(N, H, W)` long, in [0, C) or `ignore_index`.
        ignore_index: Label of pixels that are ignored.
        class_weight: `(C,)`, the weight of a pixel by its class.
        pixel_weight: `(N, H, W)`, another weight per pixel, such as a sampler's 0 or 1.

    Returns:
        A scalar: the weighted mean, 0 if all pixels are ignored. With several processes, the
        weights of all are used, so that the averaged gradients are those of one process.
    """
    losses = F.cross_entropy(
        logits, labels, weight=class_weight, ignore_index=ignore_index, reduction='none'
    )
    is_labelled = labels != ignore_index
    weights = is_labelled.to(losses.dtype)
    if class_weight is not None:
        weights = class_weight[labels.where(is_labelled, 0)] * weights
    if pixel_weight is not None:
        losses, weights = losses * pixel_weight, weights * pixel_weight
    total = weights.sum()
    all_reduce(total, 'mean')
    return losses.sum() / total.clamp(min=torch.finfo(losses.dtype).tiny)


def pixel_accuracy(logits: Tensor, labels: Tensor, *, ignore_index: int = 255) -> Tensor:
    """Return the percentage of labelled pixels `(1,)` whose class has the highest logit.

    Args:
        logits: `(N, C, H, W)`.
        labels: `(N, H, W)` long, in [0, C) or `ignore_index`.
        ignore_index: Label of pixels that are ignored.
    """
    is_labelled = labels != ignore_index
    hits = (logits.argmax(1) == labels) & is_labelled
    return (100 * hits.sum() / is_labelled.sum().clamp(min=1)).reshape(1)


@MODELS.register_module()
class PixelCrossEntropyLoss(nn.Module):
    """`pixel_cross_entropy` as a loss of mmseg's decode heads.

    mmseg's `CrossEntropyLoss` counts ignored pixels in the mean by default, and with
    `avg_non_ignore=True` waits for the device in every step and fails on class weights.

    Args:
        class_weight: The weight of a pixel by its class.
        loss_weight: Factor of the loss.
        loss_name: Name in the log; it must start with `loss_`.
    """

    def __init__(
        self,
        *,
        class_weight: Sequence[float] | None = None,
        loss_weight: float = 1.0,
        loss_name: str = 'loss_ce',
    ) -> None:
        super().__init__()
        weight = None if class_weight is None else torch.tensor(class_weight, dtype=torch.float32)
        self.register_buffer('class_weight', weight, persistent=False)
        self.loss_weight = loss_weight
        self.loss_name = loss_name

    def forward(
        self,
        logits: Tensor,
        labels: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = 255,
    ) -> Tensor:
        """Compute the loss of logits `(N, C, H, W)` and labels `(N, H, W)`; see mmseg."""
        return self.loss_weight * pixel_cross_entropy(
            logits.float(),
            labels,
            ignore_index=ignore_index,
            class_weight=self.class_weight,
            pixel_weight=weight,
        )
