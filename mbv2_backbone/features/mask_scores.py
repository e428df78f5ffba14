"""The scores of the classes of a mask, as tensors with a gradient."""

from __future__ import annotations

from torch import Tensor


def mask_scores(logits: Tensor, *, image_share: tuple[float, float]) -> dict[int, Tensor]:
    """Sum up the logits of each class over the places that are given to it.

    Args:
        logits: `(1, num_classes, h, w)` of a segmentation head.
        image_share: Which part of height and width is image; what follows is padding.

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
