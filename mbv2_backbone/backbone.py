"""MobileNetV2 as a backbone for every OpenMMLab toolbox."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from mmengine.registry import MODELS
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .arch import STAGES, TAP_NAMES, FeatureInfo, build_architecture, resolve_taps
from .blocks import Expansion, InvertedResidual, conv_factory

MAX_FROZEN_STAGES = len(STAGES) + 1
PADDINGS = ('symmetric', 'same')


@MODELS.register_module()
class MobileNetV2Backbone(BaseModule):
    """MobileNetV2 (https://arxiv.org/abs/1801.04381, table 2) with named feature maps.

    Registered in mmengine's root registry, so that mmdet, mmseg and every other toolbox finds it
    as `MobileNetV2Backbone`. Parameter names are those of mmdet's MobileNetV2.

    Args:
        widen_factor: Width multiplier, above 0.
        out_indices: Feature maps to return: tap names (`arch.TAP_NAMES`: `conv1`,
            `layer1`..`layer7` for the linear bottleneck outputs, `layer2.expand`..
            `layer7.expand` for the expansion inside a stage's first block before its stride,
            `conv2`) or mmdet's integers (0..6 for `layer1`..`layer7`, 7 for `conv2`). Layers
            after the last of them are not built.
        output_stride: 8, 16 or 32; later strides become dilation.
        round_to: What the channels are multiples of. 8 is the rule of the paper's code and of every
            library; 1 that of TensorFlow's DeepLab models narrower than width 1.
        padding: `symmetric` pads as torch does, `same` as TensorFlow does, for weights that were
            trained there.
        frozen_stages: -1 trains all; 0 freezes `conv1`, k from 1 to 7 also `layer1`..`layerk`,
            8 all, `conv2` included: no gradient, and batch norms in eval mode.
        norm_cfg: mmcv's config of the norm layers; `None` means `dict(type='BN')`.
        act_cfg: mmcv's config of the activations; `None` means `dict(type='LeanReLU6')`.
        norm_eval: Keep all batch norms in eval mode.
        with_cp: Recompute the blocks' activations in the backward pass to save memory.
        init_cfg: mmengine's weight initialisation; `None` means Kaiming. With
            `dict(type='Pretrained', checkpoint=...)` any layout that `mbv2_backbone.weights`
            knows can be read, and a checkpoint that does not cover the backbone is rejected.

    Attributes:
        feature_info: One `FeatureInfo` (name, channels, stride) for each returned feature map, in
            order. Size necks and heads from it.

    Raises:
        ValueError: If an argument has a value other than those above.

    Example:
        >>> backbone = MobileNetV2Backbone(out_indices=('layer6.expand', 'conv2'))
        >>> [(info.channels, info.stride) for info in backbone.feature_info]
        [(576, 16), (1280, 32)]
    """

    def __init__(
        self,
        *,
        widen_factor: float = 1.0,
        out_indices: Sequence[str | int] | str | int = ('layer2', 'layer3', 'layer5', 'layer7'),
        output_stride: int = 32,
        round_to: int = 8,
        padding: str = 'symmetric',
        frozen_stages: int = -1,
        norm_cfg: dict | None = None,
        act_cfg: dict | None = None,
        norm_eval: bool = False,
        with_cp: bool = False,
        init_cfg: dict | list[dict] | None = None,
    ) -> None:
        taps = resolve_taps(out_indices)
        architecture = build_architecture(widen_factor, output_stride, round_to=round_to)
        if padding not in PADDINGS:
            raise ValueError(f'padding must be one of {PADDINGS}, got {padding!r}')
        if frozen_stages not in range(-1, MAX_FROZEN_STAGES + 1):
            raise ValueError(
                f'frozen_stages must be -1 (none), 0 (conv1), 1..7 (up to that layer) or '
                f'{MAX_FROZEN_STAGES} (conv2 too), got {frozen_stages!r}'
            )
        self._pretrained_cfg, init_cfg = _split_init_cfg(init_cfg)
        super().__init__(init_cfg)

        self.widen_factor = widen_factor
        self.output_stride = output_stride
        self.round_to = round_to
        self.padding = padding
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.feature_info: tuple[FeatureInfo, ...] = tuple(architecture.taps[t] for t in taps)
        self._taps = frozenset(taps)

        conv = conv_factory(padding, norm_cfg or dict(type='BN'), act_cfg or dict(type='LeanReLU6'))
        self.conv1 = conv(3, architecture.stem_channels, 3, stride=2)
        self.layers: list[str] = ['conv1']
        last_tap = taps[-1]
        for name, blocks in architecture.stages.items():
            if TAP_NAMES.index(last_tap) < TAP_NAMES.index(name):
                if last_tap == f'{name}.expand':
                    self._add_layer(name, nn.Sequential(Expansion(blocks[0], conv=conv)))
                break
            stage = [InvertedResidual(spec, conv=conv, with_cp=with_cp) for spec in blocks]
            self._add_layer(name, nn.Sequential(*stage))
        if last_tap == 'conv2':
            in_channels = architecture.taps['layer7'].channels
            self._add_layer('conv2', conv(in_channels, architecture.last_channels, 1))
        self._freeze()

    def _add_layer(self, name: str, layer: nn.Module) -> None:
        self.add_module(name, layer)
        self.layers.append(name)

    def init_weights(self) -> None:
        """Initialise once; a pretrained checkpoint is loaded last and must cover everything."""
        was_init = self.is_init
        super().init_weights()
        if self._pretrained_cfg is not None and not was_init:
            from .weights import load_pretrained

            load_pretrained(self, self._pretrained_cfg)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute the feature maps.

        Args:
            x: Normalised images `(N, 3, H, W)`.

        Returns:
            One `(N, channels, H / stride, W / stride)` (rounded up) for each of `feature_info`.
        """
        outs = []
        for name in self.layers:
            layer = getattr(self, name)
            if f'{name}.expand' in self._taps:
                expanded = layer[0].expand(x)
                outs.append(expanded)
                if isinstance(layer[0], Expansion):
                    break
                x = layer[0].project(expanded, x)
                for block in list(layer)[1:]:
                    x = block(x)
            else:
                x = layer(x)
            if name in self._taps:
                outs.append(x)
        return tuple(outs)

    def train(self, mode: bool = True) -> MobileNetV2Backbone:
        """Set the mode; frozen layers and, with `norm_eval`, all batch norms stay in eval mode."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        names = ['conv1', *(stage.name for stage in STAGES), 'conv2'][: self.frozen_stages + 1]
        for name in names:
            if name in self.layers:
                getattr(self, name).eval().requires_grad_(False)


def _split_init_cfg(
    init_cfg: dict | list[dict] | None,
) -> tuple[dict | None, dict | list[dict] | None]:
    """Take the pretrained checkpoint out of an `init_cfg`; mmengine applies the rest."""
    cfgs = [init_cfg] if isinstance(init_cfg, (dict, str)) else list(init_cfg or ())
    wrong = [cfg for cfg in cfgs if not isinstance(cfg, dict)]
    if wrong:
        raise ValueError(f'init_cfg must be a dict or a list of dicts, got {wrong[0]!r}')
    pretrained = [cfg for cfg in cfgs if cfg.get('type') == 'Pretrained']
    if len(pretrained) > 1:
        raise ValueError(f'init_cfg names {len(pretrained)} pretrained checkpoints; give one')
    others = [cfg for cfg in cfgs if cfg.get('type') != 'Pretrained']
    if not cfgs:
        others = [
            dict(type='Kaiming', layer='Conv2d'),
            dict(type='Constant', val=1, layer=['_BatchNorm', 'GroupNorm']),
        ]
    return (pretrained[0] if pretrained else None), (others or None)
