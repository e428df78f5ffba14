"""Image pooling: the context of a whole image, for each of its cells."""

from __future__ import annotations

import torch.distributed as dist
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm


class ImagePooling(nn.Module):
    """Mean over the image, 1x1 convolution, norm, activation (DeepLabV3 paper, section 3.3).

    A batch of one image has one value a channel here, which no batch norm can normalise by its
    own statistics. The running ones take their place then, in training too, and stay as they are.

    Args:
        in_channels: Channels of the feature map.
        out_channels: Channels of the result.
        norm_cfg: mmcv's config of the norm layer.
        act_cfg: mmcv's config of the activation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, norm_cfg: dict | None, act_cfg: dict | None
    ) -> None:
        super().__init__()
        self.conv = ConvModule(in_channels, out_channels, 1, norm_cfg=norm_cfg, act_cfg=act_cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, in_channels, H, W)` to `(N, out_channels, H, W)`, equal in all cells."""
        pooled = F.adaptive_avg_pool2d(x, 1)
        norm = self.conv.norm if self.conv.with_norm else None
        if norm is not None and norm.training and len(x) == 1 and _needs_a_batch(norm):
            pooled = self.conv(pooled, activate=False, norm=False)
            pooled = F.batch_norm(
                pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps
            )
            pooled = self.conv.activate(pooled) if self.conv.with_activation else pooled
        else:
            pooled = self.conv(pooled)
        return F.interpolate(pooled, size=x.shape[2:], mode='bilinear', align_corners=True)


def _needs_a_batch(norm: nn.Module) -> bool:
    """Tell whether a norm layer would fail on a single value a channel."""
    if isinstance(norm, nn.SyncBatchNorm) and dist.is_available() and dist.is_initialized():
        return dist.get_world_size(norm.process_group) == 1
    return isinstance(norm, _BatchNorm)
