"""torchvision's `MobileNetV2`: one `features` list of stem, blocks and last conv."""

from __future__ import annotations

import re

from torch import Tensor

from .preprocessing import IMAGENET
from .rename import OTHER_NETWORK, Converted, StateDict, anchored_prefixes, inverse, rename
from .schema import BLOCKS, parts

NAME = 'torchvision'
PREPROCESSING = IMAGENET
PADDING = 'symmetric'
BATCH_NORM_EPS = 1e-5
BODY = re.compile(r'features\.')


def _modules() -> dict[str, str]:
    modules = {'features.0.0': 'conv1.conv', 'features.0.1': 'conv1.bn'}
    for position, (stage, i) in enumerate(BLOCKS, start=1):
        *activated, linear = parts(stage.expand_ratio)
        theirs, ours = f'features.{position}.conv', f'{stage.name}.{i}'
        for j, part in enumerate(activated):
            modules[f'{theirs}.{j}.0'] = f'{ours}.{part}.conv'
            modules[f'{theirs}.{j}.1'] = f'{ours}.{part}.bn'
        modules[f'{theirs}.{len(activated)}'] = f'{ours}.{linear}.conv'
        modules[f'{theirs}.{len(activated) + 1}'] = f'{ours}.{linear}.bn'
    last = f'features.{len(BLOCKS) + 1}'
    return modules | {f'{last}.0': 'conv2.conv', f'{last}.1': 'conv2.bn'}


MODULES = _modules()
TAP_MODULES = {
    'conv1': 'features.0',
    **{s.name: f'features.{p}' for p, (s, _) in enumerate(BLOCKS, start=1)},
    **{
        f'{stage.name}.expand': f'features.{position}.conv.0'
        for position, (stage, i) in enumerate(BLOCKS, start=1)
        if i == 0 and stage.expand_ratio != 1
    },
    'conv2': f'features.{len(BLOCKS) + 1}',
}
"""The module whose output is a tap, by tap."""


def find_prefixes(state_dict: StateDict) -> set[str]:
    """Return the prefixes under which the layout is found."""
    # MobileNetV3 and EfficientNet share `features.0.0`, but name their blocks' parts `block`.
    return anchored_prefixes(state_dict, 'features.1.conv.0.0.weight')


def describe_other(_: StateDict) -> str:
    """Say what a state dict with blocks that MobileNetV2 lacks may be."""
    return OTHER_NETWORK


def to_ours(state_dict: StateDict) -> Converted:
    """Convert torchvision's names to ours."""
    return rename(state_dict, MODULES)


def from_ours(state_dict: StateDict) -> dict[str, Tensor]:
    """Convert our names to torchvision's."""
    return rename(state_dict, inverse(MODULES))[0]
