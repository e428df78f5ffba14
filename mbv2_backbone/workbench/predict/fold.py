"""Fold batch norm into the preceding convolution, for inference."""

from __future__ import annotations

from copy import deepcopy

import torch
from mmcv.cnn import ConvModule, fuse_conv_bn
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ..configs.machine import Machine, to_memory_format
from .packed import pack_convolutions


def folded_for(model: nn.Module, machine: Machine) -> nn.Module:
    """Return a copy of a model that predicts as fast as a machine can.

    Args:
        model: It is not changed.
        machine: Its device and memory format are the copy's; on a CPU convolutions are prepacked.
    """
    model = folded(model, strict=False).to(machine.device)
    to_memory_format(model, machine)
    if machine.device == 'cpu':
        pack_convolutions(model)
    return model


def folded(model: nn.Module, *, strict: bool = True) -> nn.Module:
    """Return a copy of a model for prediction, with every batch norm after a convolution folded.

    Args:
        model: Any model built of mmcv's `ConvModule`s; it is not changed.
        strict: Refuse a model with a batch norm that does not follow a convolution; else it stays.

    Raises:
        ValueError: If a batch norm remains and `strict` is set.
    """
    model = deepcopy(model).eval().requires_grad_(False)
    for module in model.modules():
        if not isinstance(module, ConvModule) or not module.with_norm:
            continue
        norm = module.norm
        if not isinstance(norm, _BatchNorm) or module.order[:2] != ('conv', 'norm'):
            continue
        if not norm.affine:  # mmcv expects weight and bias
            norm.weight = nn.Parameter(torch.ones_like(norm.running_var))
            norm.bias = nn.Parameter(torch.zeros_like(norm.running_var))
        fuse_conv_bn(module)
    left = [name for name, module in model.named_modules() if isinstance(module, _BatchNorm)]
    if left and strict:
        raise ValueError(
            f'the batch norms {", ".join(left[:3])} do not directly follow a convolution; '
            f'use mmcv ConvModules in the order conv, norm, act'
        )
    return model.requires_grad_(False)
