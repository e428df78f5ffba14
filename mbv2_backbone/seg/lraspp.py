"""LR-ASPP, the head with the fewest multiply-adds."""

from __future__ import annotations

from collections.abc import Sequence

from mmcv.cnn import ConvModule
from mmseg.models.utils import resize
from mmseg.registry import MODELS
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import make_lean
from .decode_head import StrideCheckedHead


@MODELS.register_module()
class MobileLRASPPHead(StrideCheckedHead):
    """Lite R-ASPP (MobileNetV3 paper, https://arxiv.org/abs/1905.02244, section 6.4).

    A 1x1 branch on the deep map, gated by the mean of the image, is classified at the size of a
    finer map, and the finer map's own scores are added. mmseg's `LRASPPHead` pools 49x49 windows
    and fails on smaller maps.

    Args:
        in_channels: Channels of the finer and of the deep map; (32, 320) are `layer3` and `layer7`
            at width 1.
        in_index: Which of the backbone's maps they are.
        channels: Channels of the branch.
        num_classes: Number of classes, including background if the labels have it.
        **kwargs: As for `StrideCheckedHead` and mmseg's `BaseDecodeHead`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (32, 320),
        in_index: Sequence[int] = (0, 1),
        channels: int = 128,
        num_classes: int = 21,
        **kwargs: object,
    ) -> None:
        super().__init__(
            in_channels=tuple(in_channels),
            in_index=tuple(in_index),
            input_transform='multiple_select',
            channels=channels,
            num_classes=num_classes,
            **kwargs,
        )
        fine_channels, deep_channels = in_channels
        self.branch = ConvModule(
            deep_channels, channels, 1, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg
        )
        make_lean(self)
        self.gate = nn.Conv2d(deep_channels, channels, 1, bias=False)
        self.fine_seg = nn.Conv2d(fine_channels, num_classes, 1)

    def forward(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Compute logits `(N, num_classes, h, w)` at the size of the finer map."""
        fine, deep = self._transform_inputs(inputs)
        gated = self.branch(deep) * self.gate(F.adaptive_avg_pool2d(deep, 1)).sigmoid()
        gated = resize(
            gated, size=fine.shape[2:], mode='bilinear', align_corners=self.align_corners
        )
        return self.cls_seg(gated) + self.fine_seg(fine)
