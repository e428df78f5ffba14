"""Batch norm folded into the convolution before it, for a network that only predicts."""

from __future__ import annotations

from copy import deepcopy

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Folded = tuple[Tensor, Tensor]


def fold_batch_norm(conv: nn.Conv2d, norm: _BatchNorm) -> Folded:
    """Return weight and bias of the convolution that does what `norm(conv(x))` does in eval mode.

    Computed in float64 and rounded once.
    """
    weight = conv.weight.double()
    bias = conv.bias.double() if conv.bias is not None else weight.new_zeros(len(weight))
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    shift = -norm.running_mean.double() * scale
    if norm.affine:
        scale = scale * norm.weight.double()
        shift = shift * norm.weight.double() + norm.bias.double()
    folded = weight * scale.reshape(-1, 1, 1, 1), bias * scale + shift
    return tuple(value.to(conv.weight.dtype) for value in folded)


def folded(model: nn.Module, *, strict: bool = True) -> nn.Module:
    """Return a copy of a model for prediction, with every batch norm after a convolution folded.

    Args:
        model: Any model of mmcv's `ConvModule`s; it is not changed.
        strict: Refuse a model with a batch norm that does not follow a convolution; else it stays.

    Raises:
        ValueError: If a batch norm is left over and `strict` is set.
    """
    model = deepcopy(model).eval().requires_grad_(False)
    for module in model.modules():
        if not isinstance(module, ConvModule) or not module.with_norm:
            continue
        norm = module.norm
        if not isinstance(norm, _BatchNorm) or module.order[:2] != ('conv', 'norm'):
            continue
        weight, bias = fold_batch_norm(module.conv, norm)
        module.conv.weight, module.conv.bias = nn.Parameter(weight), nn.Parameter(bias)
        module.add_module(module.norm_name, nn.Identity())
    left = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    if left and strict:
        raise ValueError(
            f'the batch norms {", ".join(left[:3])} do not directly follow a convolution; '
            f'use mmcv ConvModules in the order conv, norm, act'
        )
    return model.requires_grad_(False)


def has_bad_weights(model: nn.Module) -> str | None:
    """Return the name of the first weight or statistic that is not finite, if there is one."""
    for name, value in model.state_dict().items():
        if not torch.isfinite(value).all():
            return name
    return None
