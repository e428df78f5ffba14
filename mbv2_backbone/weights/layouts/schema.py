"""The definition of a weight layout, and the tensors of `MobileNetV2Backbone` by name and shape."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from ...arch import STAGES, Architecture
from ..preprocessing import IMAGENET, Preprocessing

StateDict = Mapping[str, Tensor]
Converted = tuple[dict[str, Tensor], dict[str, Tensor]]
"""Result of a layout's `to_ours`: our state dict, and the tensors without a place in it."""

OTHER_NETWORK = 'The checkpoint is of another network, or of a deeper variant'

BLOCKS = tuple((stage, i) for stage in STAGES for i in range(stage.num_blocks))
"""Every block in the order of the forward pass, as (stage, index in the stage)."""

NORM_TENSORS = ('weight', 'bias', 'running_mean', 'running_var')
TENSORFLOW_NORM = ('gamma', 'beta', 'moving_mean', 'moving_variance')
"""The same tensors in TensorFlow and Keras."""
TENSORFLOW_PARTS = {
    'expand_conv': 'expand',
    'depthwise_conv': 'depthwise',
    'linear_conv': 'project',
}
"""A block's convolutions in TensorFlow and Keras, by our names."""
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


def after_prefix(name: str) -> re.Pattern[str]:
    """Return the pattern of a tensor's full name with or without a prefix, which is group 1.

    Example:
        >>> after_prefix('conv_stem.weight').match('module.backbone.conv_stem.weight')[1]
        'module.backbone.'
    """
    return re.compile(rf'(|.*\.){re.escape(name)}$')


def torch_kernel(kernel: Tensor, *, is_depthwise: bool) -> Tensor:
    """Convert a kernel of TensorFlow or Keras to torch's axes.

    Args:
        kernel: `(height, width, in, out)`, a depthwise one `(height, width, channels, 1)`.
        is_depthwise: Whether it is depthwise.

    Returns:
        `(out, in, height, width)`, a depthwise one `(channels, 1, height, width)`.
    """
    return kernel.permute((2, 3, 0, 1) if is_depthwise else (3, 2, 0, 1)).contiguous()


def rename(state_dict: StateDict, modules: Mapping[str, str]) -> Converted:
    """Rename tensors by their module; a tensor of any other module is left over.

    Args:
        state_dict: Tensors by name.
        modules: New module names by old ones.
    """
    renamed: dict[str, Tensor] = {}
    left_over: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        module, _, leaf = name.rpartition('.')
        if module in modules:
            renamed[f'{modules[module]}.{leaf}'] = tensor
        else:
            left_over[name] = tensor
    return renamed, left_over


@dataclass(frozen=True)
class Parts:
    """Neck and head of a trained model.

    Attributes:
        tensors: By our names, such as `bbox_head.reg_convs.0.1.weight`.
        classes: Names of its classes; `None` if they are not known.
        used: The names of the tensors in the checkpoint.
    """

    tensors: dict[str, Tensor]
    classes: tuple[str, ...] | None
    used: frozenset[str]


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """How a library names the tensors of its MobileNetV2, and how it trains the network.

    Attributes:
        name: The layout's name in messages and reports.
        anchor: Matches one tensor that no other network has; group 1 is the prefix.
        body: Matches the start of the names of the backbone's tensors, prefix removed.
        modules: Our module names by the library's.
        preprocessing: The input that the published weights were trained on.
        padding: The backbone's `padding`.
        batch_norm_eps: The `eps` of the batch norms.
        rename_tensors: Takes a state dict and `modules`; does what `to_ours` describes.
        describe_other: Says what a state dict with blocks that MobileNetV2 lacks may be.
    """

    name: str
    anchor: re.Pattern[str]
    body: re.Pattern[str]
    modules: Mapping[str, str]
    preprocessing: Preprocessing = IMAGENET
    padding: str = 'symmetric'
    batch_norm_eps: float = 1e-5
    rename_tensors: Callable[[StateDict, Mapping[str, str]], Converted] = rename
    describe_other: Callable[[StateDict], str] = lambda _: OTHER_NETWORK

    def find_prefixes(self, state_dict: StateDict) -> set[str]:
        """Return the prefixes (in Keras, groups such as `layers/`) of the layout's backbones."""
        return {match[1] for match in map(self.anchor.match, state_dict) if match}

    def to_ours(self, state_dict: StateDict) -> Converted:
        """Convert names, and axes where they differ, to those of `MobileNetV2Backbone`.

        Args:
            state_dict: The backbone's tensors by the library's names, without a prefix.

        Returns:
            The tensors by our names, and those without a place among them.
        """
        return self.rename_tensors(state_dict, self.modules)

    def from_ours(self, state_dict: StateDict) -> dict[str, Tensor]:
        """Convert our names to those of a torch library; the tensors are unchanged."""
        return rename(state_dict, {ours: theirs for theirs, ours in self.modules.items()})[0]
