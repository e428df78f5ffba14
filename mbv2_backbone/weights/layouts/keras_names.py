"""Keras' `MobileNetV2`, with the names that each version of Keras uses in its files.

Whole `.h5` models and Keras 2 weights name tensors by layer (`block_1_expand/.../kernel:0`), Keras
3 files by class and number (`conv2d_1/vars/0`), and the files that keras.applications downloads by
the layer names of 2018 (`mobl1_conv_1_expand/.../kernel:0`). Kernels are
`(height, width, in, out)`, depthwise ones `(height, width, in, 1)`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from ..preprocessing import MINUS_ONE_TO_ONE
from .schema import (
    BLOCKS,
    NORM_TENSORS,
    TENSORFLOW_NORM,
    TENSORFLOW_PARTS,
    UNITS,
    Converted,
    Layout,
    StateDict,
    parts,
    torch_kernel,
)

_KERNELS = ('kernel', 'depthwise_kernel')


def _layers() -> dict[str, str]:
    layers = {'Conv1': 'conv1.conv', 'bn_Conv1': 'conv1.bn'}
    for position, (stage, i) in enumerate(BLOCKS):
        prefix = f'block_{position}' if position else 'expanded_conv'
        for part in parts(stage.expand_ratio):
            layers[f'{prefix}_{TENSORFLOW_PARTS[part]}'] = f'{stage.name}.{i}.{part}.conv'
            layers[f'{prefix}_{TENSORFLOW_PARTS[part]}_BN'] = f'{stage.name}.{i}.{part}.bn'
    return layers | {'Conv_1': 'conv2.conv', 'Conv_1_bn': 'conv2.bn'}


def _published_layers() -> dict[str, str]:
    # The files that keras.applications downloads are older than its current layer names;
    # Keras loads them by position.
    layers = {}
    for position, (stage, i) in enumerate(BLOCKS):
        for part in parts(stage.expand_ratio):
            module, name = f'{stage.name}.{i}.{part}', TENSORFLOW_PARTS[part]
            layers[f'mobl{position}_conv_{position}_{name}'] = f'{module}.conv'
            layers[f'bn{position}_conv_{position}_bn_{name}'] = f'{module}.bn'
    return layers


def _numbered_layers() -> dict[str, str]:
    depthwise = [unit for unit in UNITS if unit.endswith('depthwise_conv')]
    others = [unit for unit in UNITS if not unit.endswith('depthwise_conv')]
    modules = {
        'conv2d': [f'{unit}.conv' for unit in others],
        'depthwise_conv2d': [f'{unit}.conv' for unit in depthwise],
        'batch_normalization': [f'{unit}.bn' for unit in UNITS],
    }
    return {
        f'{name}_{i}' if i else name: module
        for name, in_order in modules.items()
        for i, module in enumerate(in_order)
    }


def _rename(state_dict: StateDict, modules: Mapping[str, str]) -> Converted:
    """Convert Keras' names and axes to ours. Keras has no batch counters."""
    converted: dict[str, Tensor] = {}
    left_over: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        layer, *_, variable = name.split('/')
        module = modules.get(layer, '')
        variable = variable.partition(':')[0]
        if module.endswith('.conv') and variable in (*_KERNELS, '0') and tensor.ndim == 4:
            kernel = torch_kernel(tensor, is_depthwise='depthwise' in module)
            converted[f'{module}.weight'] = kernel
        elif module.endswith('.bn') and variable in (*TENSORFLOW_NORM, '0', '1', '2', '3'):
            i = int(variable) if variable.isdigit() else TENSORFLOW_NORM.index(variable)
            converted[f'{module}.{NORM_TENSORS[i]}'] = tensor
        else:
            left_over[name] = tensor
    return converted, left_over


LAYOUT = Layout(
    name='keras',
    anchor=re.compile(
        r'(|.*?/)(?:expanded_conv_depthwise|mobl0_conv_0_depthwise|depthwise_conv2d)/'
    ),
    body=re.compile(r'expanded_conv_|block_\d+_|mobl\d+_|bn\d+_conv_'),
    modules=_layers() | _published_layers() | _numbered_layers(),
    preprocessing=MINUS_ONE_TO_ONE,
    padding='same',
    batch_norm_eps=1e-3,
    rename_tensors=_rename,
)
