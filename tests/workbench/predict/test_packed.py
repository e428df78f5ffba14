"""Packed convolutions give the same as folded ones, for every network and size."""

import pytest
import torch
from helpers.networks import images, randomise
from helpers.paths import config_path
from mmengine.registry import MODELS
from torch import nn

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict.fold import folded
from mbv2_backbone.workbench.predict.packed import PackedConv, pack_convolutions

pytestmark = pytest.mark.runtime


def packed_copy(model):
    model = folded(model).to(memory_format=torch.channels_last)
    pack_convolutions(model)
    return model


@pytest.mark.parametrize(
    'options',
    [dict(), dict(output_stride=8), dict(padding='same'), dict(act_cfg=dict(type='HSwish'))],
)
@pytest.mark.parametrize('size', [(2, 3, 64, 96), (1, 3, 97, 65)])
def test_a_packed_backbone_gives_the_same(options, size):
    backbone = randomise(MobileNetV2Backbone(widen_factor=0.5, **options)).eval()
    found, expected = packed_copy(backbone), folded(backbone)
    for shape in (size, (1, 3, 130, 70)):  # packed for the first size, used for both
        x = images(*shape)
        with torch.inference_mode():
            for a, b in zip(found(x), expected(x), strict=True):
                assert (a - b).abs().max() < 1e-4 * b.abs().max()


@pytest.mark.parametrize(
    'name', ['ssdlite_mbv2_sample', 'deeplabv3_mbv2_sample', 'ssdlite-deeplabv3_mbv2_sample']
)
def test_packed_networks_give_the_same(name):
    model = randomise(MODELS.build(load_config(config_path(name)).model)).eval()
    found = packed_copy(model)
    assert not any(type(m) is nn.Conv2d for m in unpacked(found))
    x = images(2, 3, 97, 97)
    with torch.inference_mode():
        torch.testing.assert_close(found._forward(x), model._forward(x), rtol=1e-3, atol=1e-3)


def unpacked(model):
    """Return the modules that are in no PackedConv."""
    for child in model.children():
        if not isinstance(child, PackedConv):
            yield child
            yield from unpacked(child)


def test_unsupported_layers_stay_unpacked():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding='same'),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode='reflect'),
        nn.Conv2d(4, 4, 1).double(),
    )
    pack_convolutions(model)
    assert all(type(m) is nn.Conv2d for m in model)
