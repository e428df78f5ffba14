"""Folded batch norms give the same outputs, for each kind of network."""

import pytest
import torch
from helpers.networks import images, randomise
from mmcv.cnn import ConvModule
from mmengine.registry import MODELS
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mbv2_backbone import MobileNetV2Backbone
from mbv2_backbone.workbench.configs.read import load_config
from mbv2_backbone.workbench.predict.fold import folded

CONFIGS = ('ssdlite_mbv2_sample', 'deeplabv3_mbv2_sample', 'ssdlite-deeplabv3_mbv2_sample')


def assert_folded_alike(model, run):
    """Compare in float64, where only the folding can differ, and roughly in float32."""
    model = randomise(model).eval()
    for dtype, tolerance in ((torch.float32, 1e-4), (torch.float64, 1e-10)):
        model = model.to(dtype)
        found = folded(model)
        for unit, of in zip(conv_modules(found), conv_modules(model), strict=True):
            assert isinstance(unit.norm, nn.Identity) == isinstance(of.norm, _BatchNorm)
        assert not any(isinstance(module, _BatchNorm) for module in found.modules())
        assert not any(parameter.requires_grad for parameter in found.parameters())
        with torch.no_grad():
            for ours, expected in zip(run(found, dtype), run(model, dtype), strict=True):
                largest = expected.abs().max()
                assert largest > 0
                torch.testing.assert_close(
                    ours / largest, expected / largest, rtol=0, atol=tolerance
                )


def conv_modules(model):
    return [m for m in model.modules() if isinstance(m, ConvModule) and m.with_norm]


@pytest.mark.parametrize('width', [0.35, 0.5, 1.0, 1.4])
def test_the_backbone(width):
    x = images(2, 3, 64, 64)
    assert_folded_alike(
        MobileNetV2Backbone(widen_factor=width), lambda model, dtype: model(x.to(dtype))
    )


@pytest.mark.parametrize('name', CONFIGS)
def test_whole_networks(name):
    x = images(2, 3, 128, 128)

    def run(model, dtype):
        return tensors_of(model._forward(x.to(dtype)))

    assert_folded_alike(MODELS.build(load_config(f'configs/{name}.py').model), run)


def tensors_of(outputs):
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [tensor for part in outputs for tensor in tensors_of(part)]


def test_a_batch_norm_without_weights_is_folded():
    norm = dict(type='BN', affine=False)
    model = nn.Sequential(ConvModule(3, 4, 3, norm_cfg=norm, act_cfg=None)).eval()
    model[0].norm.running_mean.uniform_()
    model[0].norm.running_var.uniform_(0.5, 2)
    x = images(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(folded(model)(x), model(x), rtol=1e-5, atol=1e-5)


def test_a_batch_norm_before_its_convolution_is_not_folded():
    options = dict(norm_cfg=dict(type='BN'), order=('norm', 'conv', 'act'))
    model = randomise(nn.Sequential(ConvModule(3, 3, 3, **options))).eval()
    with pytest.raises(ValueError, match='do not directly follow'):
        folded(model)
    x = images(2, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(folded(model, strict=False)(x), model(x))
