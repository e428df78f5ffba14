"""Networks with random weights, and random inputs."""

import torch
from torch import nn

from mbv2_backbone import MobileNetV2Backbone


def randomise(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every weight and running statistic a seeded value unlike its initial one."""
    generator = torch.Generator().manual_seed(seed)
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            fan_in = m.weight[0].numel()
            m.weight.data = torch.randn(m.weight.shape, generator=generator) * (2 / fan_in) ** 0.5
            if m.bias is not None:
                m.bias.data = torch.randn(m.bias.shape, generator=generator) * 0.1
        elif isinstance(m, nn.BatchNorm2d):
            m.weight.data = 0.5 + torch.rand(m.weight.shape, generator=generator)
            m.bias.data = torch.randn(m.bias.shape, generator=generator) * 0.1
            m.running_mean.data = torch.randn(m.running_mean.shape, generator=generator) * 0.1
            m.running_var.data = 0.5 + torch.rand(m.running_var.shape, generator=generator)
    return module


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def our_backbone(**kwargs):
    """Build our backbone of width 0.35, up to its last convolution."""
    return MobileNetV2Backbone(**dict(widen_factor=0.35, out_indices='conv2') | kwargs)


def num_params(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())
