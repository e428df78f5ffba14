"""Configure a training run to survive faults."""

from __future__ import annotations

from mmengine.config import Config, ConfigDict

from ..configs.plan import step
from ..configs.read import type_name

# Registers the types that are written into the config.
from . import loops, nonfinite, recording, resume, saving, signals  # noqa: F401

_LOOPS = dict(
    EpochBasedTrainLoop='ResumableEpochLoop',
    IterBasedTrainLoop='ResumableIterLoop',
)
# mmdet's hook ends a run at the first loss that is not finite.
_REPLACED_HOOKS = ('CheckInvalidLossHook',)
_VIS_BACKENDS = dict(LocalVisBackend='SafeLocalVisBackend')


@step('robustness', 'Runs survive kills, full disks and NaN or infinite losses.')
def make_robust(cfg: Config) -> None:
    """Add exact resumption, safe files and checks for NaN to a config.

    Loops, checkpoint hooks and visualizer backends of types other than mmengine's own are not
    changed, and what depends on them is skipped. With several optimizers nothing is changed.
    """
    hooks = [
        hook for hook in cfg.get('custom_hooks') or [] if type_name(hook) not in _REPLACED_HOOKS
    ]
    loop = type_name(cfg.train_cfg)
    if type_name(cfg.get('optim_wrapper')) == 'OptimWrapperDict':  # the hooks know one optimizer
        return
    if loop in _LOOPS:
        cfg.train_cfg.pop('by_epoch', None)
        cfg.train_cfg['type'] = _LOOPS[loop]
        hooks.append(dict(type='ResumeHook'))
    if 'NonFiniteHook' not in map(type_name, hooks):
        hooks.append(dict(type='NonFiniteHook'))
    cfg.custom_hooks = hooks

    default_hooks = cfg.setdefault('default_hooks', ConfigDict())
    saver = default_hooks.setdefault('checkpoint', ConfigDict(type='CheckpointHook', interval=1))
    if type_name(saver) == 'CheckpointHook':
        saver['type'] = 'SafeCheckpointHook'
    if cfg.get('visualizer') is None:  # mmengine's default
        cfg.visualizer = dict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    for backend in cfg.visualizer.get('vis_backends') or []:
        backend['type'] = _VIS_BACKENDS.get(type_name(backend), backend['type'])
    for split in ('train', 'val') if loop in _LOOPS else ('val',):
        loader = cfg.get(f'{split}_dataloader')
        if loader:
            loader.pop('disable_subprocess_warning', None)  # an option of the replaced function
            loader.setdefault('worker_init_fn', dict(type='outlive_stop_signals'))
