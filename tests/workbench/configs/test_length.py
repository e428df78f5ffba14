"""The schedule ends with the training, whatever an override makes of its length."""

import math
from copy import deepcopy
from itertools import pairwise

import pytest
import torch
from helpers.paths import ROOT
from mmengine.config import Config
from mmengine.optim import OptimWrapper
from mmengine.registry import PARAM_SCHEDULERS

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.workbench.configs.length import follow_length, schedule_problems
from mbv2_backbone.workbench.configs.plan import differences
from mbv2_backbone.workbench.configs.read import load_config

CONFIGS = sorted(
    str(path.relative_to(ROOT / 'configs'))
    for path in (ROOT / 'configs').rglob('*.py')
    if '_base_' not in str(path)
)


def rates(cfg, batches, lr=1.0):
    """Return the learning rate of each iteration, as mmengine's schedulers make it."""
    weight = torch.nn.Parameter(torch.zeros(1))
    wrapper = OptimWrapper(torch.optim.SGD([weight], lr=lr))
    built = []
    for one in cfg.param_scheduler:
        one = dict(one)
        one.pop('_scope_', None)
        if one.pop('convert_to_iter_based', False):
            kind = PARAM_SCHEDULERS.get(one.pop('type'))
            built.append(kind.build_iter_from_epoch(wrapper, epoch_length=batches, **one))
        else:
            built.append(PARAM_SCHEDULERS.build(one, default_args=dict(optimizer=wrapper)))
    epochs = cfg.train_cfg.get('max_epochs')
    found = []
    for i in range(epochs * batches if epochs else cfg.train_cfg.max_iters):
        found.append(wrapper.param_groups[0]['lr'])
        wrapper.optimizer.step()
        for one in built:
            if not one.by_epoch or (i + 1) % batches == 0:
                one.step()
    return found


@pytest.mark.parametrize('name', CONFIGS)
def test_every_config_ends_its_schedule_with_its_training(name):
    cfg = Config.fromfile(str(ROOT / 'configs' / name))
    key = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
    assert schedule_problems(cfg, batches=10**4) == []
    for length in (1, 2, 3, 7, cfg.train_cfg[key] // 2, cfg.train_cfg[key] * 3):
        other = deepcopy(cfg)
        other.train_cfg[key] = length
        other = follow_length(cfg).change(other)
        assert schedule_problems(other, batches=10**4) == []
        assert other.param_scheduler[-1].end == length
        assert {line.split('.')[0] for line in differences(cfg, other)} <= {
            '~ train_cfg', '~ param_scheduler', '- param_scheduler', '+ param_scheduler'
        }  # fmt: skip


@pytest.mark.parametrize('name', ['ssdlite_mbv2_sample.py', 'deeplabv3_mbv2_sample.py'])
def test_the_rate_falls_to_its_end_as_in_the_whole_training(name):
    # Both are warm-up and cosine to a hundredth of the rate.
    path = str(ROOT / 'configs' / name)
    option = 'train_cfg.max_epochs=6' if 'ssd' in name else 'train_cfg.max_iters=240'
    whole, short = rates(load_config(path), 40), rates(load_config(path, [option]), 40)
    assert len(short) == 240
    assert short[50] > 0.8
    assert math.isclose(short[-1], whole[-1], rel_tol=0.05)
    assert all(a > b for a, b in pairwise(short[50:]))


def plan(schedulers, *options, **train_cfg):
    written = Config(dict(train_cfg=train_cfg, param_scheduler=schedulers))
    cfg = Config(dict(train_cfg=dict(train_cfg), param_scheduler=schedulers))
    cfg.merge_from_dict(dict(options))
    return follow_length(written).change(cfg)


def test_milestones_periods_and_steps_keep_their_share_of_the_training():
    schedulers = [
        dict(type='MultiStepLR', begin=0, end=24, milestones=[16, 22]),
        dict(type='CosineRestartLR', periods=[8, 16], restart_weights=[1, 0.5], eta_min=0),
        dict(type='StepLR', step_size=8),
        dict(type='OneCycleLR', eta_max=0.1, total_steps=24),
    ]
    steps = plan(schedulers, ('train_cfg.max_epochs', 12), max_epochs=24).param_scheduler
    assert (steps[0].milestones, steps[0].end) == ([8, 11], 12)
    assert steps[1].periods == [4, 8]
    assert steps[2].step_size == 4
    assert steps[3].total_steps == 12


def test_a_warm_up_keeps_its_length_but_takes_at_most_half():
    schedulers = [
        dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=50),
        dict(type='PolyLR', begin=50, end=1000, by_epoch=False),
    ]

    def ends(length):
        cfg = plan(schedulers, ('train_cfg.max_iters', length), max_iters=1000)
        return [(one.begin, one.end) for one in cfg.param_scheduler]

    assert ends(4000) == [(0, 50), (50, 4000)]
    assert ends(120) == [(0, 50), (50, 120)]
    assert ends(20) == [(0, 10), (10, 20)]
    assert ends(3) == [(0, 3)]


def test_a_constant_end_stays_at_the_end():
    # mmdet's YOLOX: 5 epochs of warm-up, cosine, 15 epochs of constant rate.
    schedulers = [
        dict(type='mmdet.QuadraticWarmupLR', end=5),
        dict(type='CosineAnnealingLR', begin=5, end=285, T_max=280),
        dict(type='ConstantLR', factor=1, begin=285, end=300),
    ]
    cfg = plan(schedulers, ('train_cfg.max_epochs', 100), max_epochs=300)
    assert [(one.get('begin'), one.end) for one in cfg.param_scheduler] == [
        (None, 5), (5, 95), (95, 100)
    ]  # fmt: skip
    assert cfg.param_scheduler[1].T_max == 90
    assert schedule_problems(cfg, batches=9) == []


def test_a_schedule_that_is_overridden_too_stays_as_given():
    path = str(ROOT / 'configs/deeplabv3_mbv2_sample.py')
    options = ['train_cfg.max_iters=115', 'param_scheduler.1.end=115', 'param_scheduler.1.T_max=65']
    cfg = load_config(path, options)
    assert (cfg.param_scheduler[0].end, cfg.param_scheduler[1].T_max) == (50, 65)
    assert cfg.param_scheduler == load_config(path, options[:1]).param_scheduler
    own = load_config(path, ['train_cfg.max_iters=115', 'param_scheduler.1.T_max=200'])
    assert (own.param_scheduler[1].T_max, own.param_scheduler[1].end) == (200, 850)
    milder = load_config(path, ['train_cfg.max_iters=115', 'param_scheduler.1.eta_min_ratio=0.5'])
    assert milder.param_scheduler[1].end == 115


def test_the_name_at_the_top_of_a_config_is_the_same_override():
    for name, key in (
        ('ssdlite_mbv2_sample', 'max_epochs'),
        ('deeplabv3_mbv2_sample', 'max_iters'),
    ):
        path = str(ROOT / f'configs/{name}.py')
        cfg = load_config(path, [f'{key}=70'])
        assert cfg.train_cfg[key] == cfg.param_scheduler[1].end == 70


def problems(schedulers, batches=10, **train_cfg):
    return schedule_problems(Config(dict(train_cfg=train_cfg, param_scheduler=schedulers)), batches)


def test_what_ends_elsewhere_is_named():
    cosine = dict(type='CosineAnnealingLR', T_max=20, end=20)
    assert problems([cosine], max_epochs=20) == []
    assert problems(cosine, max_epochs=20) == []
    (late,) = problems([cosine], max_epochs=3)
    assert late == (
        'param_scheduler.0 (CosineAnnealingLR) changes until 20 epochs, and training ends at 3'
    )
    (early,) = problems([cosine], max_epochs=24)
    assert early == 'param_scheduler.0 (CosineAnnealingLR) ends at 20 of 24 epochs'
    (short,) = problems([dict(cosine, T_max=10)], max_epochs=20)
    assert 'ends at 10 of 20 epochs' in short
    (last,) = problems([dict(type='MultiStepLR', milestones=[8, 12])], max_epochs=12)
    assert 'changes until 12 epochs, and training ends at 12' in last
    assert problems([dict(type='MultiStepLR', milestones=[8, 11])], max_epochs=12) == []
    assert problems([dict(type='StepLR', step_size=5)], max_epochs=12) == []


def test_units_are_compared():
    warmup = dict(type='LinearLR', start_factor=0.1, by_epoch=False, end=50)
    assert problems([warmup], max_epochs=6) == []
    (late,) = problems([warmup], max_epochs=3)
    assert 'changes until 50 iterations, and training ends at 30' in late
    (idle,) = problems([dict(type='StepLR', step_size=2)], max_iters=100)
    assert 'counts epochs, and the training iterations' in idle
    poly = dict(type='PolyLR', by_epoch=False, end=100)
    assert problems([poly], max_epochs=10) == []
    (early,) = problems([warmup, poly], max_epochs=20)
    assert 'param_scheduler.1 (PolyLR) ends at 100 of 200 iterations' in early


@pytest.mark.parametrize(
    ('name', 'option', 'counts'),
    [
        ('deeplabv3_mbv2_sample.py', 'train_cfg.max_epochs=3', 'iterations'),
        ('ssdlite_mbv2_sample.py', 'train_cfg.max_iters=30', 'epochs'),
        ('ssdlite-deeplabv3_mbv2_sample.py', 'train_cfg.max_iters=30', 'epochs'),
    ],
)
def test_a_length_in_the_other_unit_is_refused(name, option, counts):
    # mmengine 0.10 passes it to the loop, which ends in a TypeError.
    with pytest.raises(UserError, match=f'counts {counts} .*set train_cfg') as caught:
        load_config(str(ROOT / 'configs' / name), [option])
    assert option.replace('=', ' is ') in str(caught.value)
