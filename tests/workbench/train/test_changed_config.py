"""Resuming with another config: what the checkpoint overrides is said, what cannot be is refused.

mmengine 0.10.7 and onedl-mmengine 0.11: `Runner.resume` loads the state of the optimizer and of
each schedule over what the config built, and `zip`s the schedules, so that changed values have no
effect and other schedules take attributes that they do not know (mmengine#1565).
"""

import re
import shlex

import pytest
import torch
from helpers.nonfinite import log_of
from helpers.resume import ToyDataset, toy_config, train_toy
from helpers.small import tool, write_small_config
from mmengine.registry import DATASETS

from mbv2_backbone.common.messages import UserError
from mbv2_backbone.weights.whole_model import check_resumable
from mbv2_backbone.workbench.train.changed_config import ChangedConfigHook

STEPS = [dict(type='MultiStepLR', milestones=[1], gamma=0.1, end=3)]


@DATASETS.register_module()
class NamedToyDataset(ToyDataset):
    def __init__(self, classes, **kwargs):
        super().__init__(**kwargs)
        self.metainfo = dict(classes=classes)


def resumed(tmp_path, before, after):
    """Train two epochs with one config, resume for a third with another; return the log."""
    options = dict(length=3, log_level='WARNING')
    train_toy(toy_config(tmp_path / 'first', **options, **before))
    cfg = toy_config(tmp_path / 'second', **options, **after)
    train_toy(cfg, resume=str(tmp_path / 'first/epoch_2.pth'), hooks=[ChangedConfigHook()])
    return log_of(tmp_path / 'second')


def scheduled(*schedulers, **more):
    return dict(param_scheduler=list(schedulers), **more)


@pytest.mark.parametrize(
    'config',
    [
        {},
        scheduled(*STEPS),
        scheduled(
            dict(type='LinearLR', by_epoch=False, start_factor=0.1, end=3),
            dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True),
        ),
        scheduled(dict(type='OneCycleLR', eta_max=0.1, total_steps=12, by_epoch=False)),
        scheduled(dict(type='CosineRestartLR', periods=[1, 2], eta_min=0, restart_weights=[1, 1])),
        scheduled(dict(type='CosineAnnealingMomentum', T_max=3, eta_min=0.1)),
        scheduled(),
    ],
    ids=lambda config: '+'.join(s['type'] for s in config.get('param_scheduler', [])) or 'none',
)
def test_an_unchanged_config_resumes_without_a_word(tmp_path, config):
    assert 'continues with the settings' not in resumed(tmp_path, config, config)


@pytest.mark.parametrize(
    ('before', 'after', 'said'),
    [
        (scheduled(*STEPS), scheduled(dict(STEPS[0], milestones=[2])),
         r'MultiStepLR milestones \[1\] \(config: \[2\]\)'),
        ({}, scheduled(dict(type='CosineAnnealingLR', T_max=9)),
         r'CosineAnnealingLR T_max 3 \(config: 9\)'),
        ({}, dict(optim_wrapper=dict(optimizer=dict(lr=1e-5))),
         r'optimizer initial_lr 0\.01 \(config: 1e-05\)'),
        ({}, dict(optim_wrapper=dict(optimizer=dict(weight_decay=0.5))),
         r'optimizer weight_decay 0\.01 \(config: 0\.5\)'),
        ({}, dict(optim_wrapper=dict(optimizer=dict(betas=(0.8, 0.9)))),
         r'optimizer betas \(0\.9, 0\.999\) \(config: \(0\.8, 0\.9\)\)'),
        (scheduled(dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True)),
         scheduled(dict(type='CosineAnnealingLR', T_max=3, convert_to_iter_based=True),
                   train_dataloader=dict(batch_size=7)),
         r'CosineAnnealingLR T_max 12 \(config: 6\)'),
        ({}, dict(custom_hooks=[]), 'averaged weights, although the config averages none'),
    ],
    ids=['milestones', 'T_max', 'lr', 'weight_decay', 'betas', 'batch_size', 'ema'],
)  # fmt: skip
def test_what_the_checkpoint_overrides_is_said(tmp_path, before, after, said):
    log = resumed(tmp_path, before, after)
    (line,) = [line for line in log.splitlines() if 'continues with the settings of' in line]
    assert re.search(said, line)
    assert line.count('(config: ') <= 2  # the length of a schedule in epochs is its `end`, too
    assert f'load_from={tmp_path}/first/epoch_2.pth' in line


SGD = dict(optim_wrapper=dict(optimizer=dict(_delete_=True, type='SGD', lr=0.01)))
ADAM = dict(optim_wrapper=dict(optimizer=dict(type='Adam')))
DECAY = dict(optim_wrapper=dict(optimizer=dict(weight_decay=0.01)))
GROUPS = dict(optim_wrapper=dict(**DECAY['optim_wrapper'], paramwise_cfg=dict(norm_decay_mult=0.0)))


def classes(*names):
    dataset = dict(type='NamedToyDataset', classes=names)
    return dict(train_dataloader=dict(dataset=dataset))


@pytest.mark.parametrize(
    ('before', 'after', 'said'),
    [
        ({}, SGD, 'its optimizer is AdamW; that of the config SGD'),
        ({}, ADAM, 'its optimizer is AdamW; that of the config Adam'),
        (DECAY, GROUPS, r'has 1 groups with 6 weights in all; that of the config \d with 6 '),
        ({}, scheduled(*STEPS), 'is CosineAnnealingLR; that of the config MultiStepLR'),
        (scheduled(*STEPS), scheduled(*STEPS, *STEPS), 'MultiStepLR; .* MultiStepLR, MultiStepLR'),
        ({}, scheduled(), 'its schedule is CosineAnnealingLR; that of the config none'),
        (classes('a', 'b'), classes('b', 'a'), 'classes are a, b; those of the config b, a'),
        (classes('a', 'b'), classes('a'), 'its classes are a, b; those of the config a'),
        ({}, dict(model=dict(width=9)), r'3 have another shape|have another shape: layers\.0'),
    ],
    ids=['SGD', 'Adam', 'groups', 'steps', 'two', 'none', 'order', 'fewer', 'width'],
)  # fmt: skip
def test_what_cannot_be_joined_is_refused(tmp_path, before, after, said):
    with pytest.raises(UserError, match='cannot be resumed with this config') as refused:
        resumed(tmp_path, before, after)
    assert re.search(said, str(refused.value))
    assert f'--cfg-options load_from={tmp_path}/first/epoch_2.pth' in str(refused.value)


def test_an_optimizer_of_a_checkpoint_without_its_config_is_known_by_its_settings(tmp_path):
    options = dict(length=3, log_level='WARNING')
    train_toy(toy_config(tmp_path / 'first', **options))
    path = tmp_path / 'first/epoch_2.pth'
    checkpoint = torch.load(path, weights_only=True)
    del checkpoint['meta']['cfg']
    torch.save(checkpoint, path)
    cfg = toy_config(tmp_path / 'second', **options, **SGD)
    with pytest.raises(UserError, match=r'optimizer is another one \(.*betas.*\); .* SGD'):
        train_toy(cfg, resume=str(path), hooks=[ChangedConfigHook()])
    same = toy_config(tmp_path / 'third', **options)
    train_toy(same, resume=str(path), hooks=[ChangedConfigHook()])


@pytest.mark.parametrize('missing', ['message_hub', 'optimizer', 'meta'])
def test_a_checkpoint_of_mmcv_1_cannot_be_resumed(tmp_path, missing):
    # mmcv 1.x has meta (epoch, iter), state_dict and optimizer, and no message_hub.
    parts = dict(meta=dict(epoch=1, iter=9), state_dict={}, optimizer={}, message_hub={})
    torch.save({k: v for k, v in parts.items() if k != missing}, tmp_path / 'epoch_1.pth')
    with pytest.raises(UserError, match=r'no training state.*load_from=.*epoch_1\.pth'):
        check_resumable(str(tmp_path / 'epoch_1.pth'))


@pytest.mark.slow
def test_the_command_of_a_refusal_starts_from_the_weights(sample_dataset, tmp_path):
    more = """
    train_cfg = dict(max_epochs=1, val_interval=9)
    default_hooks = dict(checkpoint=dict(interval=1))
    """
    config = write_small_config(tmp_path / 'small.py', sample_dataset, more)
    assert tool('train', config, '--work-dir', tmp_path / 'run').returncode == 0
    fewer = "classes = ('disc', 'square')\n"
    config = write_small_config(tmp_path / 'fewer.py', sample_dataset, more + fewer)
    refused = tool('train', config, '--work-dir', tmp_path / 'run', '--resume')
    assert refused.returncode == 2
    assert 'Traceback' not in refused.stderr
    assert 'its classes are disc, square, triangle, star; those of the config disc, square' in (
        refused.stderr
    )
    (command,) = re.findall(r'alone: python tools/train\.py (.*)', refused.stderr)
    started = tool('train', *shlex.split(command))
    assert started.returncode == 0, started.stderr[-3000:]
    assert 'classes taken: disc, square' in started.stdout + started.stderr
    assert (tmp_path / 'run_new/epoch_1.pth').is_file()
