"""The module of each library's MobileNetV2 that computes each feature map."""

from __future__ import annotations

from collections.abc import Mapping

from mbv2_backbone.arch import INDEX_TO_TAP, STAGES
from mbv2_backbone.weights.layouts import keras_names as keras
from mbv2_backbone.weights.layouts import mmdet_names as mmdet
from mbv2_backbone.weights.layouts import mmseg_names as mmseg
from mbv2_backbone.weights.layouts import timm_names as timm
from mbv2_backbone.weights.layouts import torchvision_names as torchvision
from mbv2_backbone.weights.layouts.schema import BLOCKS, Layout


def _keras_taps() -> dict[str, str]:
    taps = {'conv1': 'Conv1_relu'}
    for position, (stage, i) in enumerate(BLOCKS):
        name = f'block_{position}' if position else 'expanded_conv'
        if i == 0 and stage.expand_ratio != 1:
            taps[f'{stage.name}.expand'] = f'{name}_expand_relu'
        taps[stage.name] = f'{name}_add' if i else f'{name}_project_BN'
    return taps | {'conv2': 'out_relu'}


TAP_MODULES: Mapping[Layout, Mapping[str, str]] = {
    torchvision.LAYOUT: {
        'conv1': 'features.0',
        **{s.name: f'features.{p}' for p, (s, _) in enumerate(BLOCKS, start=1)},
        **{
            f'{stage.name}.expand': f'features.{position}.conv.0'
            for position, (stage, i) in enumerate(BLOCKS, start=1)
            if i == 0 and stage.expand_ratio != 1
        },
        'conv2': f'features.{len(BLOCKS) + 1}',
    },
    timm.LAYOUT: {  # timm's norms include the activation
        'conv1': 'bn1',
        **{stage.name: f'blocks.{i}' for i, stage in enumerate(STAGES)},
        **{f'{stage.name}.expand': f'blocks.{i}.0.bn1' for i, stage in enumerate(STAGES) if i},
        'conv2': 'bn2',
    },
    mmseg.LAYOUT: {
        'conv1': 'conv1',
        **{stage.name: stage.name for stage in STAGES},
        **{f'{stage.name}.expand': f'{stage.name}.0.conv.0' for stage in STAGES[1:]},
    },
    mmdet.LAYOUT: {
        **{name: name for name in INDEX_TO_TAP},
        'conv1': 'conv1',
        **{f'{stage.name}.expand': f'{stage.name}.0.expand_conv' for stage in STAGES[1:]},
    },
    keras.LAYOUT: _keras_taps(),
}
"""By layout and tap, the module (in Keras, the layer) whose output is the tap."""
