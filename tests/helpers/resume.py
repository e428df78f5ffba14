"""Small training runs whose weights depend on every random number generator."""

import json
import os
import random
import signal
import sys
import textwrap
from pathlib import Path
from typing import ClassVar
from uuid import uuid4

import numpy as np
import torch
from helpers.paths import ROOT
from helpers.small import write_small_config
from mmengine.config import Config
from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, HOOKS, METRICS, MODELS, TRANSFORMS
from mmengine.runner import Runner
from torch import nn

from mbv2_backbone.workbench.configs import machine  # noqa: F401  (registers Bf16OptimWrapper)
from mbv2_backbone.workbench.train.loops import end_loader_processes
from mbv2_backbone.workbench.train.robust import make_robust
from mbv2_backbone.workbench.train.signals import Stop, StopHook

RANDOM_TRAINING = """
custom_imports = dict(imports=['mbv2_backbone.det', 'helpers.resume', 'helpers.distributed'])
randomness = dict(seed=3)
train_dataloader.update(num_workers=2, persistent_workers=True)
train_dataloader['dataset']['pipeline'] = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='RandomCrop', crop_size=(0.7, 0.7), crop_type='relative_range',
         allow_negative_crop=True),
    dict(type='Resize', scale=(64, 64), keep_ratio=False),
    dict(type='RandomFlip', prob=0.5),
    dict(type='AllNoise'),
    dict(type='PackDetInputs'),
]
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=4),
    dict(type='CosineAnnealingLR', T_max=2, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(interval=1, max_keep_ckpts=1), logger=dict(interval=1))
custom_hooks = [
    dict(type='EMAHook', ema_type='ExpMomentumEMA', momentum=0.005, priority=49),
    dict(type='NoiseHook'),
]
"""


def write_config(path, data, extra=''):
    """Write a config on the 24 images of `sample_dataset`: two epochs of three steps."""
    return str(write_small_config(path, data, RANDOM_TRAINING + textwrap.dedent(extra)))


def environment():
    paths = [str(ROOT), str(ROOT / 'tests')]
    return dict(os.environ, PYTHONPATH=':'.join(paths), OMP_NUM_THREADS='1')


def train_command(*args):
    return [sys.executable, str(ROOT / 'tools/train.py'), *map(str, args)]


def noise():
    """Return a number that depends on all three random number generators."""
    return np.random.randn() + random.gauss(0, 1) + float(torch.randn(()))


@TRANSFORMS.register_module()
class AllNoise:
    """Add noise to an image, as transforms do."""

    def __call__(self, results):
        results['img'] = np.clip(results['img'] + 3 * noise(), 0, 255).astype(np.uint8)
        return results


@HOOKS.register_module()
class NoiseHook(Hook):
    """Add noise to the weights, from the generators of the training process, as dropout does."""

    def before_train_iter(self, runner, **_):
        next(runner.model.parameters()).data += 1e-3 * noise()


@HOOKS.register_module()
class SignalHook(Hook):
    """Send a signal to this process in a step or in the validation, as if from outside."""

    def __init__(self, signum, step=None, val_step=None):
        self.signum, self.step, self.val_step = signum, step, val_step

    def before_train_iter(self, runner, **_):
        if runner.iter + 1 == self.step:
            os.kill(os.getpid(), self.signum)

    def before_val_iter(self, runner, batch_idx, **_):
        if batch_idx + 1 == self.val_step:
            os.kill(os.getpid(), self.signum)


@DATASETS.register_module()
class ToyDataset:
    """Numbers with noise; those in `bad` are NaN or infinite.

    Attributes:
        loaded: The indices loaded in this process.
    """

    loaded: ClassVar[list[int]] = []

    def __init__(self, size=14, bad=None):
        self.size, self.bad = size, bad or {}

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        self.loaded.append(index)
        x = torch.linspace(-1, 1, 4) * (index + 1) + 0.1 * noise()
        x[0] = self.bad.get(index, x[0])
        return dict(inputs=x, data_samples=Named(f'{index}.jpg'))


class Named:
    def __init__(self, name):
        self.metainfo = dict(img_path=name)


@MODELS.register_module()
class ToyModel(BaseModel):
    """A small model with a batch norm and dropout."""

    def __init__(self, width=6):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(4, width), nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, 1)
        )

    def forward(self, inputs, data_samples=None, mode='loss'):
        out = self.layers(torch.stack(inputs))
        return dict(loss_toy=(out - 1).square().mean()) if mode == 'loss' else [out.mean()]


def toy_config(work_dir, *, by_epoch=True, length=4, seed=3, **changes):
    """Return a config of four steps per epoch with four numbers each, the last not full."""
    unit = dict(max_epochs=length) if by_epoch else dict(max_iters=length)
    cfg = Config(
        dict(
            model=dict(type='ToyModel'),
            work_dir=str(work_dir),
            experiment_name=f'toy{uuid4().hex}',
            train_dataloader=dict(
                dataset=dict(type='ToyDataset'),
                batch_size=4,
                num_workers=0,
                sampler=dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler'),
            ),
            train_cfg=dict(by_epoch=by_epoch, **unit),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=0.01)),
            param_scheduler=[dict(type='CosineAnnealingLR', T_max=length, by_epoch=by_epoch)],
            default_hooks=dict(
                checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=by_epoch)
            ),
            custom_hooks=[dict(type='EMAHook', ema_type='MomentumAnnealingEMA', priority=49)],
            log_level='ERROR',
        )
    )
    if seed is not None:
        cfg.randomness = dict(seed=seed)
    cfg.merge_from_dict(changes)
    return make_robust().change(cfg)


VALIDATION = dict(
    val_dataloader=dict(
        dataset=dict(type='ToyDataset', size=6),
        batch_size=3,
        num_workers=0,
        sampler=dict(type='DefaultSampler', shuffle=False),
    ),
    val_cfg=dict(),
    val_evaluator=dict(type='MeanOutput'),
    train_cfg=dict(val_interval=1),
    default_hooks=dict(checkpoint=dict(save_best='mean', rule='greater')),
)


@METRICS.register_module()
class MeanOutput(BaseMetric):
    """A metric that tells the weights and the noise in the images apart."""

    def process(self, data_batch, data_samples):
        self.results += [float(output) for output in data_samples]

    def compute_metrics(self, results):
        return dict(mean=sum(results) / len(results))


class StopAt(Hook):
    """Request a stop in a step, as a signal would, or in the validation after it."""

    priority = 'VERY_HIGH'

    def __init__(self, stop, step, val_step):
        self.stop, self.step, self.val_step = stop, step, val_step

    def before_train_iter(self, runner, **_):
        if runner.iter + 1 == self.step:
            self.stop.signum = signal.SIGTERM

    def before_val_iter(self, runner, **_):
        if runner.iter == self.val_step:
            self.stop.signum = signal.SIGTERM


class KillInValidation(Hook):
    """Kill this process in the validation after an iteration."""

    def __init__(self, after):
        self.after = after

    def before_val_iter(self, runner, batch_idx, **_):
        if runner.iter == self.after and batch_idx == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def train_toy(cfg, *, stop_at=None, stop_in_val=None, resume=None, hooks=()):
    """Train, and return the runner; raises SystemExit after step `stop_at`."""
    if resume is not None:
        cfg.resume, cfg.load_from = True, resume
    runner = Runner.from_cfg(cfg)
    stop = Stop()
    runner.register_hook(StopHook(stop))
    for hook in (StopAt(stop, stop_at, stop_in_val), *hooks):
        runner.register_hook(hook)
    try:
        runner.train()
    finally:
        end_loader_processes(runner)
    return runner


def final_checkpoint(cfg):
    name = 'epoch' if 'max_epochs' in cfg.train_cfg else 'iter'
    length = cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters
    return f'{cfg.work_dir}/{name}_{length}.pth'


def scalars(work_dir, key):
    """Return what the runs in a work directory logged under a name, oldest first."""
    return [
        row[key]
        for path in sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
        for row in map(json.loads, path.read_text(encoding='utf-8').splitlines())
        if key in row
    ]


def states(path):
    """Return everything in a checkpoint that a resumed run uses, flat."""
    checkpoint = torch.load(path, weights_only=True)
    flat = {}
    for part in ('state_dict', 'ema_state_dict', 'optimizer', 'param_schedulers'):
        _flatten(checkpoint.get(part, {}), part, flat)
    return flat


def _flatten(node, name, flat):
    if isinstance(node, (dict, list, tuple)):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            _flatten(value, f'{name}.{key}', flat)
    else:
        flat[name] = node


def assert_same(path, expected):
    """Assert equality to the last bit."""
    got = states(path)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(got[name], value), name
        else:
            assert got[name] == value, name
