"""Recognise configs of mmdet 2.x and mmseg 0.x, whose settings current versions do not read."""

from __future__ import annotations

from mmengine.config import Config

from ...common.messages import UserError

# From mmdet's guide "Migrate configuration file from MMDetection 2.x to 3.x".
_NOW = dict(
    data='train_dataloader, val_dataloader, test_dataloader',
    lr_config='param_scheduler',
    runner='train_cfg',
    total_epochs='train_cfg',
    evaluation='val_evaluator, train_cfg',
    optimizer_config='optim_wrapper',
    checkpoint_config='default_hooks',
    log_config='default_hooks',
)
_CURRENT = ('train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg')


def check_version(path: str, cfg: Config) -> str | None:
    """Refuse a config of mmdet 2.x, or return a note about what is of it in a current one.

    Raises:
        UserError: Says what became of each of its settings.
    """
    old = [key for key in _NOW if key in cfg]
    if not old:
        return None
    changes = '; '.join(f'{key} -> {_NOW[key]}' for key in old)
    if any(key in cfg for key in _CURRENT):
        return f'{path} has settings of mmdet 2.x, which have no effect; they are now: {changes}'
    raise UserError(
        f'{path} is a config of mmdet 2.x or mmseg 0.x, which current versions do not read. What '
        f'it has is now: {changes} (mmdetection.readthedocs.io, "Migrate configuration file"). Or '
        f'have a config written for its dataset: python tools/new_config.py --data FOLDER --out NEW'
    )
