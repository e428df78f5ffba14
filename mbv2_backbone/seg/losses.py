"""Pixel-wise losses, averaged without synchronising with the device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

ROWS = 16  # so many rows of the image are worked on at a time


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
    is_labelled = labels != ignore_index
    labels = labels.where(is_labelled, 0)
    weights = is_labelled.to(torch.promote_types(logits.dtype, torch.float32))
    if class_weight is not None:
        weights = class_weight[labels] * weights
    if pixel_weight is not None:
        weights = weights * pixel_weight
    total = weights.sum()
    all_reduce(total, 'mean')
    loss = _WeightedCrossEntropy.apply(logits, labels, weights)
    return loss / total.clamp(min=torch.finfo(weights.dtype).tiny)


class _WeightedCrossEntropy(torch.autograd.Function):
    """The weighted sum over all pixels; the gradient is made along with it, some rows at a time.

    Torch keeps the probabilities of all pixels until the backward pass, at the size of the image.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
        ctx.grad = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        loss = weights.new_zeros(())
        for start in range(0, logits.shape[2], ROWS):
            rows = slice(start, start + ROWS)
            weight, label = weights[:, rows], labels[:, rows, :, None]
            log_p = logits[:, :, rows].permute(0, 2, 3, 1).to(weights.dtype).log_softmax(-1)
            losses = -log_p.gather(-1, label)[..., 0]
            loss += (losses * weight).where(weight != 0, 0).sum()
            if ctx.grad is not None:
                grads = log_p.exp_()
                grads.scatter_add_(-1, label, grads.new_full((), -1).expand_as(label))
                ctx.grad[:, :, rows] = grads.mul_(weight[..., None]).permute(0, 3, 1, 2)
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None, None]:
        if ctx.grad is None:
            raise RuntimeError('the gradient of this loss can be taken only once')
        grads, ctx.grad = ctx.grad.mul_(grad), None
        return grads, None, None


def pixel_accuracy(logits: Tensor, labels: Tensor, *, ignore_index: int = 255) -> Tensor:
    """Return the percentage of labelled pixels `(1,)` whose class has the highest logit.

    Args:
        logits: `(N, C, H, W)`.
        labels: `(N, H, W)` long, in [0, C) or `ignore_index`.
        ignore_index: Label of pixels that are ignored.
    """
    is_labelled = labels != ignore_index
    hits = labels.new_zeros(())
    for start in range(0, logits.shape[2], ROWS):
        rows = slice(start, start + ROWS)
        hits += ((logits[:, :, rows].argmax(1) == labels[:, rows]) & is_labelled[:, rows]).sum()
    return (100 * hits / is_labelled.sum().clamp(min=1)).reshape(1)


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
            logits,
            labels,
            ignore_index=ignore_index,
            class_weight=self.class_weight,
            pixel_weight=weight,
        )
