"""The mobile DeepLabV3 head of the MobileNetV2 paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from ..blocks import make_lean
from .decode_head import StrideCheckedHead, scale_dilations


@MODELS.register_module()
class DeepLabV3Head(StrideCheckedHead):
    """DeepLabV3 (https://arxiv.org/abs/1706.05587) as in MobileNetV2's paper (section 6.3).

    A 1x1 branch, atrous 3x3 branches and image pooling in parallel, joined by a 1x1
    convolution, then the classifier. mmseg's `ASPPHead` joins them with a 3x3 one.

    Args:
        in_channels: Channels of the feature map; 320 is `layer7` at width 1.
        channels: Channels of each branch and of their projection.
        num_classes: Number of classes, including background if the labels have it.
        dilations: Rates of the atrous branches at output stride 16, for example (6, 12, 18); they
            are scaled to `output_stride`. Without any it is the paper's mobile head.
        separable: Split the atrous branches into depthwise and 1x1 (DeepLabV3+ paper, section
            3.2).
        output_stride: Of the feature map: 8, 16 or 32.
        **kwargs: As for `StrideCheckedHead` and mmseg's `BaseDecodeHead`.

    Raises:
        ValueError: If a rate is not a whole number at `output_stride`; later, if the feature map
            has another stride.
    """

    def __init__(
        self,
        *,
        in_channels: int = 320,
        channels: int = 256,
        num_classes: int = 21,
        dilations: Sequence[int] = (),
        separable: bool = False,
        output_stride: int = 16,
        **kwargs: object,
    ) -> None:
        rates = scale_dilations(dilations, output_stride)
        super().__init__(
            in_channels=in_channels,
            channels=channels,
            num_classes=num_classes,
            output_stride=output_stride,
            **kwargs,
        )
        layers = dict(conv_cfg=self.conv_cfg, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.image_pool = ImagePooling(
            in_channels, channels, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg
        )
        aspp = DepthwiseSeparableASPPModule if separable else ASPPModule
        self.aspp_modules = aspp(
            dilations=(1, *rates), in_channels=in_channels, channels=channels, **layers
        )
        self.bottleneck = ConvModule((len(rates) + 2) * channels, channels, 1, **layers)
        make_lean(self)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Compute logits `(N, num_classes, h, w)` from the backbone's feature maps."""
        return self.cls_seg(self._forward_feature(inputs))

    def _forward_feature(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the classifier's input, `(N, channels, h, w)`; the method name is mmseg's."""
        x = self._transform_inputs(inputs)
        return self.bottleneck(torch.cat([self.image_pool(x), *self.aspp_modules(x)], 1))


class ImagePooling(nn.Module):
    """Mean over the image, 1x1 convolution, norm, activation (DeepLabV3 paper, section 3.3).

    For a batch of one image there is only one value per channel here, which batch norm cannot
    normalise by its own statistics. The running ones are used then, in training too, unchanged.

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
    """Check whether a norm layer would fail on a single value per channel."""
    if isinstance(norm, nn.SyncBatchNorm) and dist.is_available() and dist.is_initialized():
        return dist.get_world_size(norm.process_group) == 1
    return isinstance(norm, _BatchNorm)
