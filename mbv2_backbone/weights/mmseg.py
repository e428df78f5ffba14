"""mmsegmentation's and mmpretrain's `MobileNetV2`: a block's convolutions are numbered in `conv`.

mmsegmentation's ends with `layer7`; mmpretrain's has `conv2` too.
"""

from __future__ import annotations

import re

from torch import Tensor

from ..arch import STAGES
from .preprocessing import IMAGENET
from .rename import OTHER_NETWORK, Converted, StateDict, anchored_prefixes, inverse, rename
from .schema import BLOCKS, parts

NAME = 'mmseg/mmpretrain'
PREPROCESSING = IMAGENET
PADDING = 'symmetric'
BATCH_NORM_EPS = 1e-5
BODY = re.compile(r'layer\d+\.|conv1\.|conv2\.')


def _modules() -> dict[str, str]:
    units = {'conv1': 'conv1', 'conv2': 'conv2'}
    for stage, i in BLOCKS:
        for j, part in enumerate(parts(stage.expand_ratio)):
            units[f'{stage.name}.{i}.conv.{j}'] = f'{stage.name}.{i}.{part}'
    return {f'{k}.{leaf}': f'{v}.{leaf}' for k, v in units.items() for leaf in ('conv', 'bn')}


MODULES = _modules()
TAP_MODULES = {
    'conv1': 'conv1',
    **{stage.name: stage.name for stage in STAGES},
    **{f'{stage.name}.expand': f'{stage.name}.0.conv.0' for stage in STAGES[1:]},
}
"""The module whose output is a tap, by tap."""


def find_prefixes(state_dict: StateDict) -> set[str]:
    """Return the prefixes under which the layout is found."""
    return anchored_prefixes(state_dict, 'layer1.0.conv.0.conv.weight')


def describe_other(_: StateDict) -> str:
    """Say what a state dict with blocks that MobileNetV2 lacks may be."""
    return OTHER_NETWORK


def to_ours(state_dict: StateDict) -> Converted:
    """Convert mmseg's and mmpretrain's names to ours."""
    return rename(state_dict, MODULES)


def from_ours(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert our names to mmseg's and mmpretrain's."""
    return rename(state_dict, inverse(MODULES))[0]
