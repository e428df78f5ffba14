"""The convolutions of the SSDLite head."""

from __future__ import annotations

from collections.abc import Iterable

from mmcv.cnn import ConvModule
from torch import Tensor, nn

from ..blocks import convolve


def depthwise_predictors(
    maps: Iterable[tuple[int, int]],
    out_channels: int,
    *,
    norm_cfg: dict | None,
    act_cfg: dict | None,
) -> nn.ModuleList:
    """Return what predicts numbers for each prior, one module for each feature map.

    Args:
        maps: For each feature map its channels and its priors at a place.
        out_channels: Numbers for each prior.
        norm_cfg: mmcv's config of the norm layers; `None` means `dict(type='BN')`.
        act_cfg: mmcv's config of the activations; `None` means `dict(type='LeanReLU6')`.
    """
    return nn.ModuleList(
        _Predictor(
            ConvModule(
                channels,
                channels,
                3,
                padding=1,
                groups=channels,
                norm_cfg=norm_cfg or dict(type='BN'),
                act_cfg=act_cfg or dict(type='LeanReLU6'),
            ),
            nn.Conv2d(channels, num * out_channels, 1),
        )
        for channels, num in maps
    )


class _Predictor(nn.Sequential):
    """Depthwise convolution with norm and activation, then a 1x1 convolution."""

    def forward(self, x: Tensor) -> Tensor:
        depthwise, pointwise = self
        return convolve(pointwise, depthwise(x))
