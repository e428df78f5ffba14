"""torch.compile takes the networks whole: no graph break, the same numbers."""

import pytest
import torch
from mmengine.registry import MODELS
from test_configs import config
from util import images, randomise

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.engine.config import load_config


def compiled(module):
    torch._dynamo.reset()
    return torch.compile(module, backend='aot_eager', fullgraph=True)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(out_indices=('layer6.expand', 'conv2'), norm_eval=True, frozen_stages=2),
        dict(output_stride=8, padding='same'),
    ],
)
@pytest.mark.parametrize('is_training', [True, False])
def test_the_backbone_is_one_graph(options, is_training):
    backbone = randomise(MobileNetV2Backbone(widen_factor=0.25, **options)).train(is_training)
    x = images(2, 3, 65, 97)
    state = {key: value.clone() for key, value in backbone.state_dict().items()}
    expected = backbone(x)
    expected_state = {key: value.clone() for key, value in backbone.state_dict().items()}
    backbone.load_state_dict(state)
    found = compiled(backbone)(x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    for key, value in backbone.state_dict().items():
        torch.testing.assert_close(value, expected_state[key])
    if is_training:
        sum(a.sum() for a in found).backward()


@pytest.mark.parametrize(
    ('name', 'batch_size'),
    [('ssdlite_mbv2_sample', 2), ('deeplabv3_mbv2_sample', 1), ('deeplabv3_mbv2_sample', 2)],
)
def test_whole_networks_are_one_graph(name, batch_size):
    model = randomise(MODELS.build(load_config(config(name)).model)).train()
    x = images(batch_size, 3, 97, 97)
    expected = model._forward(x)
    found = compiled(model._forward)(x)
    if name.startswith('ssdlite'):
        expected, found = (scores + deltas for scores, deltas in (expected, found))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
