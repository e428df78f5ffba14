"""One parameter group per kind of settings, which trains as mmengine's many groups do."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from torch import nn

from mbv2_backbone.workbench.configs.machine import detect_machine, fit_machine

NO_DECAY = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)


def network():
    torch.manual_seed(0)
    branch = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), nn.ReLU())
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), branch, nn.Conv2d(4, 2, 1))


def trained(model, wrapper):
    optim_wrapper = build_optim_wrapper(model, wrapper)
    data = torch.randn(3, 2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    for images in data:
        optim_wrapper.update_params(model(images).square().mean())
    return optim_wrapper.optimizer


@pytest.mark.parametrize(
    ('paramwise_cfg', 'num_groups'),
    [
        (NO_DECAY, 2),
        (dict(custom_keys={'2.': dict(lr_mult=0.1)}, **NO_DECAY), 3),
        (dict(dwconv_decay_mult=0.5, bias_lr_mult=2.0), 4),
    ],
)
def test_merged_groups_train_as_separate_ones(paramwise_cfg, num_groups):
    optimizer = dict(type='AdamW', lr=0.01, weight_decay=0.5)
    cfg = Config(dict(optim_wrapper=dict(optimizer=optimizer, paramwise_cfg=paramwise_cfg)))
    cfg = fit_machine(detect_machine()).change(cfg)
    ours, theirs = network(), network()
    found = trained(ours, cfg.optim_wrapper)
    stock = copy.deepcopy(cfg.optim_wrapper)
    del stock['constructor']
    expected = trained(theirs, stock)
    assert len(found.param_groups) == num_groups
    assert len(expected.param_groups) == len(list(theirs.parameters()))
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name
    assert not torch.equal(network()[0].weight, ours[0].weight)


def test_a_constructor_set_by_the_user_stays():
    wrapper = dict(constructor='LayerDecayOptimizerConstructor', paramwise_cfg=NO_DECAY)
    cfg = Config(dict(optim_wrapper=wrapper))
    cfg = fit_machine(detect_machine()).change(cfg)
    assert cfg.optim_wrapper.constructor == 'LayerDecayOptimizerConstructor'
    plain = Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD'))))
    plain = fit_machine(detect_machine()).change(plain)
    assert 'constructor' not in plain.optim_wrapper
