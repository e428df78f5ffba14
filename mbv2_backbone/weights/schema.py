"""Names and shapes of every tensor of `MobileNetV2Backbone`, derived from the stage table."""

from __future__ import annotations

from ..arch import STAGES, Architecture

BLOCKS = tuple((stage, i) for stage in STAGES for i in range(stage.num_blocks))
"""Every block in the order of the forward pass, as (stage, index in the stage)."""

NORM_TENSORS = ('weight', 'bias', 'running_mean', 'running_var')
COUNTER = 'num_batches_tracked'


def parts(expand_ratio: int) -> tuple[str, ...]:
    """Return the names of a block's convolutions in the order of the forward pass."""
    tail = ('depthwise_conv', 'linear_conv')
    return tail if expand_ratio == 1 else ('expand_conv', *tail)


UNITS = (
    'conv1',
    *(f'{stage.name}.{i}.{part}' for stage, i in BLOCKS for part in parts(stage.expand_ratio)),
    'conv2',
)
"""Every convolution with its norm, in the order of the forward pass."""


def conv_shapes(architecture: Architecture) -> dict[str, tuple[int, int, int, int]]:
    """Return each unit's kernel shape `(out, in / groups, height, width)`."""
    shapes = {'conv1': (architecture.stem_channels, 3, 3, 3)}
    for name, blocks in architecture.stages.items():
        for i, block in enumerate(blocks):
            mid = block.mid_channels
            kernels = {
                'expand_conv': (mid, block.in_channels, 1, 1),
                'depthwise_conv': (mid, 1, 3, 3),
                'linear_conv': (block.out_channels, mid, 1, 1),
            }
            for part in parts(block.expand_ratio):
                shapes[f'{name}.{i}.{part}'] = kernels[part]
    in_channels = architecture.taps['layer7'].channels
    shapes['conv2'] = (architecture.last_channels, in_channels, 1, 1)
    return shapes


def tensor_shapes(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of the whole network, `num_batches_tracked` included."""
    shapes: dict[str, tuple[int, ...]] = {}
    for unit, shape in conv_shapes(architecture).items():
        shapes[f'{unit}.conv.weight'] = shape
        shapes |= {f'{unit}.bn.{name}': (shape[0],) for name in NORM_TENSORS}
        shapes[f'{unit}.bn.{COUNTER}'] = ()
    return shapes
