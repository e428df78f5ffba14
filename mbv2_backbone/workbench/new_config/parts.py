"""Parts that the configs of all tasks share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..data.records import Dataset
from .code import Name
from .fitting import Schedule
from .paths import held_out_settings

NORM = dict(type='BN', eps=0.001, momentum=0.1)
NECK, HEAD = 'FPNLite', 'QualitySSDLiteHead'  # of the plus recipe
TAPS = ('layer4.expand', 'layer6.expand', 'conv2')  # of stride 8, 16 and 32


def epoch_loaders(
    dataset: Dataset,
    schedule: Schedule,
    common: dict[str, Any],
    files_of: Callable[[Dataset, str], dict[str, Any]],
    **held_out_loader: Any,
) -> dict[str, Any]:
    """Return the loaders of a run in epochs, and as `images` what their datasets have in common.

    Args:
        dataset: The images.
        schedule: Says how many images a batch has, and how often an epoch takes each one.
        common: The settings of the dataset of every split.
        files_of: Takes the dataset and the name of a split, and returns the settings of its files.
        held_out_loader: Settings of the loaders to validate and to test with.
    """
    train = files_of(dataset, 'train') | dict(pipeline=Name('train_pipeline'))
    repeated: dict[str, Any] = {**train, '': Name('images')}
    if schedule.repeat > 1:
        repeated = dict(type='RepeatDataset', times=schedule.repeat, dataset=repeated)
    settings = dict(
        images=common,
        train_dataloader=dict(
            batch_size=schedule.batch_size,
            num_workers=2,
            drop_last=True,
            dataset=dict(_delete_=True) | repeated,
        ),
    )

    def held_out(split: str) -> dict[str, Any]:
        files = files_of(dataset, split) | dict(pipeline=Name('test_pipeline'), test_mode=True)
        files = dict(_delete_=True) | files | {'': Name('images')}
        return dict(batch_size=schedule.batch_size, **held_out_loader, dataset=files)

    return settings | held_out_settings(dataset.held_out, 'dataloader', held_out)


def epoch_schedule(schedule: Schedule, metric: str) -> dict[str, Any]:
    """Return the settings of a run in epochs, as in mmdet, that keeps the best checkpoint."""
    cosine = dict(begin=0, T_max=schedule.epochs, by_epoch=True, convert_to_iter_based=True)
    return _run(schedule, metric, 'max_epochs', schedule.epochs, cosine)


def iter_schedule(schedule: Schedule, metric: str) -> dict[str, Any]:
    """Return the settings of a run in iterations, as in mmseg."""
    steps = schedule.max_iters - schedule.warmup
    cosine = dict(begin=schedule.warmup, T_max=steps, by_epoch=False)
    return _run(schedule, metric, 'max_iters', schedule.max_iters, cosine)


def _run(
    schedule: Schedule, metric: str, unit: str, length: int, cosine: dict[str, Any]
) -> dict[str, Any]:
    interval = max(1, length // 5)
    cosine = dict(type='CosineAnnealingLR', end=length, eta_min_ratio=0.01) | cosine
    warmup = dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=schedule.warmup)
    adamw = dict(_delete_=True, type='AdamW', lr=schedule.lr, weight_decay=0.05)
    checkpoint = dict(interval=interval, max_keep_ckpts=1, save_best=metric)
    return dict(
        train_cfg={unit: length, 'val_interval': interval},
        param_scheduler=[warmup, cosine] if schedule.warmup else [cosine],
        optim_wrapper=dict(optimizer=adamw),
        default_hooks=dict(logger=dict(interval=10), checkpoint=checkpoint),
        auto_scale_lr=dict(base_batch_size=schedule.batch_size),
    )
