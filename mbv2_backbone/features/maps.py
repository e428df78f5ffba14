"""The maths of activation pictures, on plain tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def mean_activation(activations: Tensor) -> Tensor:
    """Return the mean of the absolute values `(H, W)` over the channels of `(C, H, W)`."""
    return activations.abs().mean(0)


def strongest_channels(activations: Tensor, count: int) -> Tensor:
    """Return at most `count` channels of `(C, H, W)`, by falling mean absolute value.

    Returns:
        `(K,)` long.
    """
    strength = activations.abs().mean((1, 2))
    return strength.argsort(descending=True, stable=True)[:count]


def class_activation(activations: Tensor, gradients: Tensor) -> Tensor:
    """Compute how much each place speaks for a score: HiResCAM (https://arxiv.org/abs/2011.08891).

    Grad-CAM takes the mean of the gradients over the image before it multiplies. The score of a
    box comes from one place, and that mean spreads it over all that looks alike.

    Args:
        activations: `(C, H, W)` of a feature map.
        gradients: `(C, H, W)`, the derivatives of the score by them.

    Returns:
        `(H, W)`, 0 or more.
    """
    return (gradients * activations).sum(0).clamp(min=0)


def scaled_to_one(maps: Sequence[Tensor]) -> list[Tensor]:
    """Divide maps, each of its own size, by the highest value of all; where that is 0, they are 0.

    Args:
        maps: At least one, each `(H, W)`, 0 or more.
    """
    highest = torch.stack([values.max() for values in maps]).max()
    return [values / highest.clamp(min=torch.finfo(values.dtype).tiny) for values in maps]
