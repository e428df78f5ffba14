"""DeepLabV3+ at a mobile size: a decoder on a fine feature map."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmcv.cnn import ConvModule, DepthwiseSeparableConvModule
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn

from ..blocks import make_lean
from .deeplabv3 import DeepLabV3Head


@MODELS.register_module()
class DeepLabV3PlusHead(DeepLabV3Head):
    """DeepLabV3+ (https://arxiv.org/abs/1802.02611, section 3) with a 1x1 projection.

    The DeepLabV3 features are resized to a finer map, joined with it and refined by two depthwise
    separable convolutions.

    Args:
        fine_in_channels: Channels of the fine map; 24 is `layer2` at width 1, at stride 4.
        fine_channels: Channels that the fine map is reduced to.
        fine_index: Which of the backbone's maps is the fine one.
        channels: Channels of each branch, of their projection and of the decoder.
        separable: As for `DeepLabV3Head`, but on by default.
        **kwargs: As for `DeepLabV3Head`.
    """

    def __init__(
        self,
        *,
        fine_in_channels: int = 24,
        fine_channels: int = 48,
        fine_index: int = 0,
        channels: int = 256,
        dilations: Sequence[int] = (6, 12, 18),
        separable: bool = True,
        **kwargs: object,
    ) -> None:
        super().__init__(channels=channels, dilations=dilations, separable=separable, **kwargs)
        self.fine_index = fine_index
        layers = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        self.c1_bottleneck = ConvModule(fine_in_channels, fine_channels, 1, **layers)
        self.sep_bottleneck = nn.Sequential(
            DepthwiseSeparableConvModule(
                channels + fine_channels, channels, 3, padding=1, **layers
            ),
            DepthwiseSeparableConvModule(channels, channels, 3, padding=1, **layers),
        )
        make_lean(self)

    def _forward_feature(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return the classifier's input, `(N, channels, H, W)` at the size of the fine map."""
        fine = self.c1_bottleneck(inputs[self.fine_index])
        coarse = resize(
            super()._forward_feature(inputs),
            size=fine.shape[2:],
            mode='bilinear',
            align_corners=self.align_corners,
        )
        return self.sep_bottleneck(torch.cat([coarse, fine], 1))
