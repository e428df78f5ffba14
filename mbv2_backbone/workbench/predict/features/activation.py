"""The maths of activation maps, on plain tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ....det.head import SSDLiteHead


def mean_activation(activations: Tensor) -> Tensor:
    """Return the mean of the absolute values `(H, W)` over the channels of `(C, H, W)`."""
    return activations.abs().mean(0)


def strongest_channels(activations: Tensor, count: int) -> Tensor:
    """Return at most `count` channels of `(C, H, W)`, by descending mean absolute value.

    Returns:
        `(K,)` long.
    """
    strength = activations.abs().mean((1, 2))
    return strength.argsort(descending=True, stable=True)[:count]


def class_activation(activations: Tensor, gradients: Tensor) -> Tensor:
    """Compute how much each position adds to a score: HiResCAM (https://arxiv.org/abs/2011.08891).

    Grad-CAM averages the gradients over the image before it multiplies. The score of a box comes
    from one position, and that average spreads it over everything that looks similar.

    Args:
        activations: `(C, H, W)` of a feature map.
        gradients: `(C, H, W)`, the derivatives of the score with respect to them.

    Returns:
        `(H, W)`, 0 or more.
    """
    return (gradients * activations).sum(0).clamp(min=0)


def scaled_to_one(maps: Sequence[Tensor]) -> list[Tensor]:
    """Divide maps, which may differ in size, by their overall maximum; if that is 0, they are 0.

    Args:
        maps: At least one, each `(H, W)`, 0 or more.
    """
    highest = torch.stack([values.max() for values in maps]).max()
    return [values / highest.clamp(min=torch.finfo(values.dtype).tiny) for values in maps]


def box_scores(
    head: SSDLiteHead, feats: tuple[Tensor, ...], meta: dict, *, score_thr: float
) -> dict[int, Tensor]:
    """Sum up the logits of the kept boxes of each class.

    Logits, because the score of a confident box is flat: its gradient is nearly 0.

    Args:
        head: The detection head.
        feats: For each level `(1, C, H, W)`.
        meta: Metadata of the image: `img_shape` and `batch_input_shape`.
        score_thr: Minimum score of the boxes that count.

    Returns:
        A scalar for each label that was found, by descending score of its best box.
    """
    levels, box_codes = head(feats)
    (found,) = head.predict_by_feat(levels, box_codes, batch_img_metas=[meta])
    found = found[found.scores >= score_thr]
    by_prior = [x.permute(0, 2, 3, 1).reshape(-1, head.cls_out_channels) for x in levels]
    logits = torch.cat(by_prior)
    scores = head.scores(logits.detach())
    sums: dict[int, Tensor] = {}
    for score, label in zip(found.scores, found.labels.tolist(), strict=True):
        # A box's score identifies its prior. If confident ones share a score, take their mean.
        distance = (scores[:, label] - score).abs()
        logit = logits[distance == distance.min(), label].mean()
        sums[label] = sums.get(label, 0) + logit
    return sums


def mask_scores(logits: Tensor, *, image_share: tuple[float, float]) -> dict[int, Tensor]:
    """Sum up the logits of each class over the positions that are predicted as it.

    Args:
        logits: `(1, num_classes, h, w)` of a segmentation head.
        image_share: Fractions of height and width that are image; the rest is padding.

    Returns:
        A scalar for each label that occurs, the largest area first.
    """
    height, width = (
        max(1, round(size * share))
        for size, share in zip(logits.shape[2:], image_share, strict=True)
    )
    logits = logits[0, :, :height, :width]
    labels = logits.argmax(0)
    areas = labels.flatten().bincount()
    order = areas.argsort(descending=True, stable=True).tolist()
    return {label: logits[label][labels == label].sum() for label in order if areas[label]}
