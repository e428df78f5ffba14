"""The extra feature maps of SSDLite, by torch's or by TensorFlow's padding."""

from __future__ import annotations

from collections.abc import Sequence

from mmdet.models.necks.ssd_neck import SSDNeck
from mmdet.registry import MODELS

from ..backbone import PADDINGS
from ..blocks import make_lean


@MODELS.register_module()
class SSDLiteNeck(SSDNeck):
    """mmdet's `SSDNeck` with depthwise separable convolutions (MobileNetV2 paper, section 6.2).

    Each extra map is half as large as the one before it. Takes the arguments of `SSDNeck` and has
    its parameter names, so that an mmdet config needs only the type changed and its checkpoint
    loads unchanged.

    Args:
        in_channels: Channels of the backbone's feature maps.
        out_channels: Channels of all maps; begins with `in_channels`.
        padding: `symmetric` pads as torch does, `same` as TensorFlow does: an even side is padded
            on the right and at the bottom alone. As in the backbone.
        level_strides: Stride of each extra map; `None` means 2.
        level_paddings: Symmetric padding of each extra map; `None` means 1.
        norm_cfg: mmcv's config of the norm layers; `None` means `dict(type='BN')`.
        act_cfg: mmcv's config of the activations; `None` means `dict(type='LeanReLU6')`.
        init_cfg: Weight initialisation; `None` means truncated normal, std 0.03.
        **kwargs: `l2_norm_scale`, `last_kernel_size` and `use_depthwise` of `SSDNeck`.

    Raises:
        ValueError: If `out_channels` does not continue `in_channels`, the strides or paddings are
            of another number than the extra maps, or `padding` is unknown.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (576, 1280),
        out_channels: Sequence[int] = (576, 1280, 512, 256, 256, 128),
        padding: str = 'symmetric',
        level_strides: Sequence[int] | None = None,
        level_paddings: Sequence[int] | None = None,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        init_cfg: dict | list[dict] | None = None,
        **kwargs: object,
    ) -> None:
        in_channels, out_channels = tuple(in_channels), tuple(out_channels)
        num_extra = len(out_channels) - len(in_channels)
        if num_extra < 1 or out_channels[: len(in_channels)] != in_channels:
            raise ValueError(
                f'out_channels must begin with in_channels {in_channels} and go on with those of '
                f'the extra maps, got {out_channels}'
            )
        strides = tuple(level_strides or (2,) * num_extra)
        paddings = tuple(level_paddings or (1,) * num_extra)
        if not len(strides) == len(paddings) == num_extra:
            raise ValueError(
                f'level_strides and level_paddings need one number for each of the {num_extra} '
                f'extra maps, got {strides} and {paddings}'
            )
        if padding not in PADDINGS:
            raise ValueError(f'padding must be one of {PADDINGS}, got {padding!r}')
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            level_strides=strides,
            level_paddings=paddings,
            conv_cfg=dict(type='Conv2dAdaptivePadding') if padding == 'same' else None,
            norm_cfg=norm_cfg or dict(type='BN'),
            act_cfg=act_cfg or dict(type='LeanReLU6'),
            init_cfg=init_cfg or dict(type='TruncNormal', layer='Conv2d', std=0.03),
            **dict(dict(l2_norm_scale=None, use_depthwise=True), **kwargs),
        )
        self.padding = padding
        make_lean(self)
