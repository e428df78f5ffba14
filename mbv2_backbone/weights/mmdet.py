"""mmdetection's `MobileNetV2`, whose names are ours."""

from __future__ import annotations

import re

from torch import Tensor

from ..arch import INDEX_TO_TAP, STAGES
from .preprocessing import IMAGENET
from .rename import OTHER_NETWORK, Converted, StateDict, anchored_prefixes, rename
from .schema import UNITS

NAME = 'mmdet'
PREPROCESSING = IMAGENET
PADDING = 'symmetric'
BATCH_NORM_EPS = 1e-5
BODY = re.compile(r'layer\d+\.|conv1\.|conv2\.')
MODULES = {f'{unit}.{leaf}': f'{unit}.{leaf}' for unit in UNITS for leaf in ('conv', 'bn')}

TAP_MODULES = {
    **{name: name for name in INDEX_TO_TAP},
    'conv1': 'conv1',
    **{f'{stage.name}.expand': f'{stage.name}.0.expand_conv' for stage in STAGES[1:]},
}
"""The module whose output is a tap, by tap."""


def find_prefixes(state_dict: StateDict) -> set[str]:
    """Return the prefixes under which the layout is found."""
    return anchored_prefixes(state_dict, 'layer1.0.depthwise_conv.conv.weight')


def describe_other(_: StateDict) -> str:
    """Say what a state dict with blocks that MobileNetV2 lacks may be."""
    return OTHER_NETWORK


def to_ours(state_dict: StateDict) -> Converted:
    """Keep what is the backbone's."""
    return rename(state_dict, MODULES)


def from_ours(state_dict: StateDict) -> dict[str, Tensor]:
    """Return the same tensors: mmdet's names are ours."""
    return dict(state_dict)
