"""The mobile DeepLabV3 head of the MobileNetV2 paper."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule
from mmseg.models.decode_heads.aspp_head import ASPPModule
from mmseg.models.decode_heads.sep_aspp_head import DepthwiseSeparableASPPModule
from mmseg.registry import MODELS
from torch import Tensor

from .decode_head import StrideCheckedHead
from .pooling import ImagePooling
from .strides import scale_dilations


@MODELS.register_module()
class DeepLabV3Head(StrideCheckedHead):
    """DeepLabV3 (https://arxiv.org/abs/1706.05587) as MobileNetV2's paper has it (section 6.3).

    A 1x1 branch, atrous 3x3 branches and image pooling side by side, joined by a 1x1
    convolution, then the classifier. mmseg's `ASPPHead` joins by a 3x3 one.

    Args:
        in_channels: Channels of the feature map; 320 is `layer7` at width 1.
        channels: Channels of each branch and of their projection.
        num_classes: Classes, background counted where the labels have it.
        dilations: Rates of the atrous branches at output stride 16, for example (6, 12, 18); they
            are scaled to `output_stride`. Without any it is the paper's mobile head.
        separable: Split the atrous branches into depthwise and 1x1 (DeepLabV3+ paper, section
            3.2).
        output_stride: Of the feature map: 8, 16 or 32.
        **kwargs: As for `StrideCheckedHead` and mmseg's `BaseDecodeHead`.

    Raises:
        ValueError: If a rate is not a whole number at `output_stride`; in use, if the feature map
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

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Compute logits `(N, num_classes, h, w)` from the backbone's feature maps."""
        return self.cls_seg(self._forward_feature(inputs))

    def _forward_feature(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return what is classified, `(N, channels, h, w)`; mmseg's name for it."""
        x = self._transform_inputs(inputs)
        return self.bottleneck(torch.cat([self.image_pool(x), *self.aspp_modules(x)], 1))
