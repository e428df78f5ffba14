"""Parts that the configs of all tasks share."""

from __future__ import annotations

from typing import Any

from .fitting import Schedule

NORM = dict(type='BN', eps=0.001, momentum=0.1)
NECK, HEAD = 'FPNLite', 'QualitySSDLiteHead'  # of the plus recipe
TAPS = ('layer4.expand', 'layer6.expand', 'conv2')  # of stride 8, 16 and 32


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
