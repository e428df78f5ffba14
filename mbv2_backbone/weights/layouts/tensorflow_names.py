"""TensorFlow 1: slim's MobileNetV2, the Object Detection API's SSDLite and DeepLab.

All of them name a variable by its layer (`MobilenetV2/expanded_conv_1/expand/weights`).
"""

from __future__ import annotations

import re

from torch import Tensor

from ..preprocessing import MINUS_ONE_TO_ONE
from .schema import (
    BLOCKS,
    NORM_TENSORS,
    TENSORFLOW_NORM,
    TENSORFLOW_PARTS,
    Converted,
    Layout,
    StateDict,
    parts,
    torch_kernel,
)

BATCH_NORM_EPS = 1e-3
_DEEPLAB_EPS = 1e-5
_OF_DEEPLAB = re.compile(r'aspp\d|image_pooling$|concat_projection')
_WITH_BIAS = re.compile(r'(^|/)(BoxEncodingPredictor|ClassPredictor|semantic|Conv2d_1c_1x1)$')


def has_batch_norm(layer: str) -> bool:
    """Tell whether a layer of these networks has a batch norm; the last ones have a bias."""
    return not _WITH_BIAS.search(layer)


def batch_norm_eps(layer: str) -> float:
    """Return the `eps` of a layer's batch norm, which is smaller around DeepLab's backbone."""
    return _DEEPLAB_EPS if _OF_DEEPLAB.match(layer) else BATCH_NORM_EPS


def layer_of(name: str) -> str:
    """Return the layer that a variable belongs to.

    Example:
        >>> layer_of('MobilenetV2/Conv/BatchNorm/gamma'), layer_of('aspp0/weights')
        ('MobilenetV2/Conv', 'aspp0')
    """
    return name.removesuffix('/read').rpartition('/')[0].removesuffix('/BatchNorm')


def _layers() -> dict[str, str]:
    layers = {'Conv': 'conv1', 'Conv_1': 'conv2'}
    for position, (stage, i) in enumerate(BLOCKS):
        block = f'expanded_conv_{position}' if position else 'expanded_conv'
        for part in parts(stage.expand_ratio):
            layers[f'{block}/{TENSORFLOW_PARTS[part]}'] = f'{stage.name}.{i}.{part}'
    return layers


def rename_layers(state_dict: StateDict, layers: dict[str, str]) -> Converted:
    """Convert layers of convolution and batch norm, or bias, to our names and axes.

    Args:
        state_dict: Variables by TensorFlow's names.
        layers: Our module names by TensorFlow's layers. A module with a norm has a `conv` and a
            `bn`; one with biases is the convolution itself.
    """
    converted: dict[str, Tensor] = {}
    left_over: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        layer, variable = layer_of(name), name.removesuffix('/read').rpartition('/')[2]
        module = layers.get(layer)
        if module is None:
            left_over[name] = tensor
        elif variable in TENSORFLOW_NORM and has_batch_norm(layer):
            leaf = NORM_TENSORS[TENSORFLOW_NORM.index(variable)]
            converted[f'{module}.bn.{leaf}'] = tensor
        elif variable in ('weights', 'depthwise_weights') and tensor.ndim == 4:
            leaf = 'conv.weight' if has_batch_norm(layer) else 'weight'
            kernel = torch_kernel(tensor, is_depthwise=variable == 'depthwise_weights')
            converted[f'{module}.{leaf}'] = kernel
        elif variable == 'biases' and not has_batch_norm(layer):
            converted[f'{module}.bias'] = tensor
        else:
            left_over[name] = tensor
    return converted, left_over


LAYOUT = Layout(
    name='tensorflow',
    anchor=re.compile(r'(|.*?/)expanded_conv/depthwise/depthwise_weights$'),
    body=re.compile(r'expanded_conv(_\d+)?/'),
    modules=_layers(),
    preprocessing=MINUS_ONE_TO_ONE,
    padding='same',
    batch_norm_eps=BATCH_NORM_EPS,
    rename_tensors=rename_layers,
)
