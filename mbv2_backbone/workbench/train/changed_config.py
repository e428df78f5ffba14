"""What a resumed run takes from its checkpoint although the config asks for something else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.hooks import EMAHook, Hook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from ...common.messages import UserError
from ...weights.preprocessing import parse_config
from ...weights.whole_model import check_covers
from ..configs.machine import bare_model
from ..configs.read import type_name

# How torch computes a step, not what.
_HOW = {'params', 'foreach', 'fused', 'capturable', 'differentiable'}
# What a schedule counts; `base_values` are the optimizer's initial values.
_PROGRESS = {
    'last_step', '_global_step', '_last_value', 'verbose', 'base_values', 'best',
    'num_bad_epochs', 'cooldown_counter',
}  # fmt: skip


class ChangedConfigHook(Hook):
    """Compares a checkpoint that is resumed with the config, before it is loaded.

    mmengine takes the settings of optimizer and schedules from the checkpoint, without a word.
    """

    priority = 'VERY_HIGH'  # before the average's hook loads what may not fit

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Warn of what the checkpoint overrides.

        Raises:
            UserError: If the run cannot go on with this config.
        """
        if not runner._resume:
            return
        path = runner._load_from
        refusals = list(_refusals(runner, checkpoint, path))
        if refusals:
            raise UserError(
                '\n  '.join([f'{path} cannot be resumed with this config:', *refusals])
                + f'\nTo start from its weights alone: python tools/train.py '
                f'{runner.cfg.filename or "CONFIG"} --work-dir {runner.work_dir}_new '
                f'--cfg-options load_from={path}'
            )
        overridden = list(dict.fromkeys(_overridden(runner, checkpoint)))
        if overridden:
            runner.logger.warning(
                f'The run continues with the settings of {path}, not with those of the config: '
                f'{"; ".join(overridden)}. For those of the config, start from the weights alone: '
                f'leave out --resume, and add --cfg-options load_from={path}'
            )


def _refusals(runner: Runner, checkpoint: Mapping[str, Any], path: str) -> Iterator[str]:
    meta = checkpoint['meta']
    theirs = meta.get('dataset_meta') or {}
    ours = getattr(runner.train_dataloader.dataset, 'metainfo', {})
    for key in ('classes', 'seg_classes', 'image_classes'):
        names = [tuple(one.get(key) or ()) for one in (theirs, ours)]
        if all(names) and names[0] != names[1]:
            yield f'its {key} are {", ".join(names[0])}; those of the config {", ".join(names[1])}'
            return
    try:
        check_covers(bare_model(runner.model), checkpoint['state_dict'], path)
    except UserError as error:
        yield str(error)
        return
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        return
    config = parse_config(meta.get('cfg'), ('optim_wrapper', 'param_scheduler'))
    optimizer = type(runner.optim_wrapper.optimizer).__name__
    was = type_name((config.get('optim_wrapper') or {}).get('optimizer') or {})
    saved, own = (
        checkpoint['optimizer']['param_groups'],
        runner.optim_wrapper.optimizer.param_groups,
    )
    if (was or optimizer) != optimizer or _differ({*saved[0]}, {*own[0]}):
        was = was or f'another one ({", ".join(sorted({*saved[0]} - _HOW))})'
        yield f'its optimizer is {was}; that of the config {optimizer}'
    elif [len(g['params']) for g in saved] != [len(g['params']) for g in own]:
        yield (
            f'its optimizer has {len(saved)} groups with {sum(len(g["params"]) for g in saved)} '
            f'weights in all; that of the config {len(own)} with '
            f'{sum(len(g["params"]) for g in own)} (paramwise_cfg, frozen layers)'
        )
    schedules = checkpoint.get('param_schedulers') or []
    built = runner.param_schedulers or []
    if isinstance(schedules, list) and isinstance(built, list):
        kinds = [type(one).__name__ for one in built]
        known = [type_name(one) for one in config.get('param_scheduler') or [] if one]
        same = len(schedules) == len(built) and all(
            {*old} == {*new.state_dict()} for old, new in zip(schedules, built, strict=True)
        )
        if not same or (len(known) == len(schedules) and known != kinds):
            were = ', '.join(known) or f'{len(schedules)} others'
            yield f'its schedule is {were}; that of the config {", ".join(kinds) or "none"}'


def _differ(saved: set[str], own: set[str]) -> bool:
    """Tell whether the settings are of different optimizers, not of versions of one."""
    return bool(saved - own - _HOW) and bool(own - saved - _HOW)


def _overridden(runner: Runner, checkpoint: Mapping[str, Any]) -> Iterator[str]:
    if 'ema_state_dict' in checkpoint and not any(isinstance(h, EMAHook) for h in runner.hooks):
        yield 'its averaged weights, although the config averages none'
    if not isinstance(runner.optim_wrapper, OptimWrapper):
        return
    groups = checkpoint['optimizer']['param_groups'], runner.optim_wrapper.optimizer.param_groups
    for saved, own in zip(*groups, strict=True):
        scheduled = {key for key in own if f'initial_{key}' in saved}
        scheduled |= {'betas'} if 'initial_momentum' in saved else set()
        settings = [key for key in own if key in saved and key not in _HOW | scheduled]
        yield from _lines('optimizer', {key: saved[key] for key in settings}, own)
    schedules, built = checkpoint.get('param_schedulers') or [], runner.param_schedulers or []
    if isinstance(schedules, list) and isinstance(built, list):
        for saved, scheduler in zip(schedules, built, strict=True):
            settings = {key: value for key, value in saved.items() if key not in _PROGRESS}
            yield from _lines(type(scheduler).__name__, settings, scheduler.state_dict())


def _lines(what: str, saved: Mapping[str, Any], own: Mapping[str, Any]) -> Iterator[str]:
    for key, value in saved.items():
        old, new = _plain(value), _plain(own[key])
        if old != new:
            yield f'{what} {key} {old} (config: {new})'


def _plain(value: Any) -> Any:
    if isinstance(value, Counter):  # milestones
        return sorted(value.elements())
    return tuple(value) if isinstance(value, list) else value
