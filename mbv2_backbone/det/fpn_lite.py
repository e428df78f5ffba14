"""A top-down neck (FPN) of depthwise separable convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmdet.registry import MODELS
from mmengine.model import BaseModule
from torch import Tensor, nn

from ..blocks import make_lean


@MODELS.register_module()
class FPNLite(BaseModule):
    """Feature pyramid (FPN, section 3) with separable convolutions, as in MobileNetV2.

    A 1x1 convolution gives each map the same number of channels, the next coarser map is resized
    and added, and a separable 3x3 convolution follows. Further levels halve the coarsest one with
    a separable convolution of stride 2.

    Args:
        in_channels: Channels of the backbone's maps, the finest first.
        out_channels: Channels of every level.
        num_outs: Number of levels, at least the number of maps.
        norm_cfg: Norm of all convolutions; `None` means `dict(type='BN')`.
        act_cfg: Activation of the separable ones; `None` means `dict(type='LeanReLU6')`.
        init_cfg: Weight initialisation; `None` means truncated normal, std 0.03, as the head's.

    Raises:
        ValueError: If `num_outs` is below the number of maps.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        out_channels: int = 128,
        num_outs: int = 5,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        super().__init__(init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.03))
        if num_outs < len(in_channels):
            raise ValueError(
                f'num_outs must be at least {len(in_channels)}, one for each of in_channels, got '
                f'{num_outs}'
            )
        self.in_channels = tuple(in_channels)
        norm = dict(norm_cfg=norm_cfg or dict(type='BN'))
        act = dict(act_cfg=act_cfg or dict(type='LeanReLU6'))
        self.lateral_convs = nn.ModuleList(
            ConvModule(channels, out_channels, 1, act_cfg=None, **norm) for channels in in_channels
        )
        self.fpn_convs = nn.ModuleList(
            DepthwiseSeparableConvModule(
                out_channels,
                out_channels,
                3,
                stride=1 if level < len(in_channels) else 2,
                padding=1,
                **norm,
                **act,
            )
            for level in range(num_outs)
        )
        make_lean(self)

    def forward(self, x: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Return `num_outs` maps `(N, out_channels, H, W)`, the finest first.

        Args:
            x: A map `(N, C, H, W)` for each of `in_channels`.

        Raises:
            ValueError: If the number of maps differs from that of `in_channels`.
        """
        if len(x) != len(self.in_channels):
            raise ValueError(f'expected {len(self.in_channels)} feature maps, got {len(x)}')
        maps = [conv(feature) for conv, feature in zip(self.lateral_convs, x, strict=True)]
        for level in reversed(range(len(maps) - 1)):
            size = maps[level].shape[-2:]
            maps[level] = maps[level] + F.interpolate(maps[level + 1], size=size, mode='nearest')
        outs: list[Tensor] = []
        for level, conv in enumerate(self.fpn_convs):
            outs.append(conv(maps[level] if level < len(maps) else outs[-1]))
        return tuple(outs)
