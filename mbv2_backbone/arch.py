"""The MobileNetV2 architecture as data: stages, taps, channels and strides. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

EXPAND_RATIO = 6
STEM_CHANNELS = 32
LAST_CHANNELS = 1280
OUTPUT_STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class StageSpec:
    """One row of table 2 of the MobileNetV2 paper, at width 1 and output stride 32."""

    name: str
    expand_ratio: int
    channels: int
    num_blocks: int
    stride: int


STAGES = (
    StageSpec('layer1', 1, 16, 1, 1),
    StageSpec('layer2', EXPAND_RATIO, 24, 2, 2),
    StageSpec('layer3', EXPAND_RATIO, 32, 3, 2),
    StageSpec('layer4', EXPAND_RATIO, 64, 4, 2),
    StageSpec('layer5', EXPAND_RATIO, 96, 3, 1),
    StageSpec('layer6', EXPAND_RATIO, 160, 3, 2),
    StageSpec('layer7', EXPAND_RATIO, 320, 1, 1),
)
"""The seven bottleneck stages; `conv1` comes before them and `conv2` after."""

INDEX_TO_TAP = (*(stage.name for stage in STAGES), 'conv2')
"""mmdet's integer `out_indices` as tap names: 0..6 are `layer1`..`layer7`, 7 is `conv2`."""


@dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block with its width and output stride applied."""

    in_channels: int
    out_channels: int
    expand_ratio: int
    stride: int
    dilation: int

    @property
    def mid_channels(self) -> int:
        """Channels of the expansion and of the depthwise convolution."""
        if self.expand_ratio == 1:
            return self.in_channels
        # The authors' code rounds an expansion to multiples of 8, whatever it rounds the rest to.
        return make_divisible(self.in_channels * self.expand_ratio)


@dataclass(frozen=True)
class FeatureInfo:
    """A feature map that the backbone can return.

    Attributes:
        name: The tap's name, such as `layer5` or `layer6.expand`.
        channels: Number of channels.
        stride: Input pixels per feature cell (the reduction).
    """

    name: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Architecture:
    """Everything that follows from a width and an output stride.

    Attributes:
        stem_channels: Output channels of `conv1`.
        last_channels: Output channels of `conv2`.
        stages: Block specs of each stage, by stage name.
        taps: Every feature map, by tap name, in the order of the forward pass.
    """

    stem_channels: int
    last_channels: int
    stages: dict[str, tuple[BlockSpec, ...]]
    taps: dict[str, FeatureInfo]


def make_divisible(value: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of `divisor`, never down by more than 10 %.

    The rule in the authors' code, in torchvision and in mmdet.

    Example:
        >>> make_divisible(24 * 0.35), make_divisible(96 * 1.3)
        (8, 128)
    """
    rounded = max(divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def build_architecture(
    widen_factor: float = 1.0, output_stride: int = 32, *, round_to: int = 8
) -> Architecture:
    """Derive channels, strides, dilations and taps of a MobileNetV2.

    Strides beyond `output_stride` become dilation. The block whose stride is removed keeps the
    incoming dilation, and every block after it gets the larger one, so that a stride-16 map
    sampled at every second cell is the stride-32 map (the atrous rule of the DeepLab papers).

    Args:
        widen_factor: Width multiplier, above 0. `conv2` never has fewer than 1280 channels.
        output_stride: 8, 16 or 32.
        round_to: What the channels are multiples of; 1 for the DeepLab models of TensorFlow that
            are narrower than width 1.

    Raises:
        ValueError: If the width is not positive, the output stride cannot be built, or `round_to`
            is not a positive integer.
    """
    if isinstance(widen_factor, bool) or not isinstance(widen_factor, (int, float)):
        raise ValueError(f'widen_factor must be a number above 0, got {widen_factor!r}')
    if not 0 < widen_factor < float('inf'):
        raise ValueError(
            f'widen_factor must be a finite number above 0 (published widths: '
            f'0.35, 0.5, 0.75, 1.0, 1.3, 1.4), got {widen_factor!r}'
        )
    if output_stride not in OUTPUT_STRIDES:
        raise ValueError(f'output_stride must be one of {OUTPUT_STRIDES}, got {output_stride!r}')

    if isinstance(round_to, bool) or not isinstance(round_to, int) or round_to < 1:
        raise ValueError(f'round_to must be an integer of 1 or more, got {round_to!r}')

    stem_channels = make_divisible(STEM_CHANNELS * widen_factor, round_to)
    last_channels = make_divisible(LAST_CHANNELS * max(1.0, widen_factor), round_to)
    stages: dict[str, tuple[BlockSpec, ...]] = {}
    infos = [FeatureInfo('conv1', stem_channels, 2)]
    channels, stride, dilation = stem_channels, 2, 1
    for stage in STAGES:
        out_channels = make_divisible(stage.channels * widen_factor, round_to)
        blocks = []
        for i in range(stage.num_blocks):
            wanted = stage.stride if i == 0 else 1
            step = wanted if stride * wanted <= output_stride else 1
            block = BlockSpec(channels, out_channels, stage.expand_ratio, step, dilation)
            if i == 0 and stage.expand_ratio != 1:
                infos.append(FeatureInfo(f'{stage.name}.expand', block.mid_channels, stride))
            blocks.append(block)
            channels, stride, dilation = out_channels, stride * step, dilation * wanted // step
        stages[stage.name] = tuple(blocks)
        infos.append(FeatureInfo(stage.name, channels, stride))
    infos.append(FeatureInfo('conv2', last_channels, stride))
    return Architecture(stem_channels, last_channels, stages, {info.name: info for info in infos})


TAP_NAMES = tuple(build_architecture().taps)
"""Every tap's name, in the order of the forward pass."""


def resolve_taps(out_indices: Sequence[str | int] | str | int) -> tuple[str, ...]:
    """Convert tap names and mmdet's integers to tap names in the order of the forward pass.

    Args:
        out_indices: Tap names (`TAP_NAMES`) or integers (0..6 are `layer1`..`layer7`, 7 is
            `conv2`), in any order; a single one need not be in a tuple.

    Raises:
        ValueError: If none is given, one is unknown, or one is given twice.

    Example:
        >>> resolve_taps((7, 'layer6.expand'))
        ('layer6.expand', 'conv2')
    """
    if isinstance(out_indices, (str, int)):
        out_indices = (out_indices,)
    names = []
    for index in out_indices:
        if isinstance(index, int) and not isinstance(index, bool) and index in range(8):
            names.append(INDEX_TO_TAP[index])
        elif isinstance(index, str) and index in TAP_NAMES:
            names.append(index)
        else:
            raise ValueError(
                f'unknown tap {index!r} in out_indices; valid are the names '
                f'{", ".join(TAP_NAMES)} and the integers 0..7 '
                f'(0..6 = layer1..layer7, 7 = conv2)'
            )
    if not names or len(set(names)) != len(names):
        problem = 'names a tap twice' if names else 'is empty'
        raise ValueError(f'out_indices {problem}: {tuple(out_indices)!r}; give each tap once')
    return tuple(sorted(names, key=TAP_NAMES.index))
