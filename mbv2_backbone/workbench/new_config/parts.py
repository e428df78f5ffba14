"""Parts that the configs of all tasks share."""

from __future__ import annotations

from typing import Any

from .code import Name
from .fitting import Schedule

NORM = dict(type='BN', eps=0.001, momentum=0.1)
_PRETRAINED_NORM = dict(type='BN', eps=1e-5, momentum=0.1)  # torchvision's and timm's eps
_SCRATCH = [
    dict(type='Kaiming', layer='Conv2d'),
    dict(type='Constant', val=1, layer='_BatchNorm'),
]


def backbone(pretrained: str | None) -> dict[str, Any]:
    """Return the settings that start the backbone from pretrained weights or from scratch."""
    if pretrained is None:
        return dict(norm_cfg=Name('norm_cfg'), init_cfg=_SCRATCH)
    init = dict(_delete_=True, type='Pretrained', checkpoint=pretrained)
    return dict(norm_cfg=_PRETRAINED_NORM, init_cfg=init)


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
