"""The config that a run records: one that the toolboxes' own tools can build from."""

from __future__ import annotations

import re
import sys
import time
from copy import deepcopy
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from ...common.notebook import in_notebook
from .palettes import fill_palettes
from .read import type_name, walk

# Choices of a run that a stock process understands. Everything else that our steps write into
# a config needs types that only our tools register, and is not copied.
_CHOSEN = (
    'work_dir',
    'launcher',
    'env_cfg',
    'model_wrapper_cfg',
    'sync_bn',
    'compile',
    'auto_scale_lr',
    'load_from',
    'resume',
    'tta_model',
    'tta_pipeline',
)
_CHOSEN_OF_LOADER = ('num_workers', 'persistent_workers', 'prefetch_factor')
_SECOND = '%Y%m%d_%H%M%S'  # as mmengine's Runner formats it
_OWN_WRAPPER = 'Bf16OptimWrapper'
_OWN_CONSTRUCTOR = 'MergedOptimWrapperConstructor'
_PARTS = tuple(f'mbv2_backbone.{task}' for task in ('det', 'seg', 'joint', 'cls'))
_PREAMBLE = re.compile(r'\s*(-+\s*System environment|Config:|Hooks will be executed)')


def portable(loaded: Config, planned: Config, *, task: str) -> Config:
    """Return the config that a run records.

    It is the loaded config with those choices of the run that a stock process can build: folders,
    processes, loaders, optimizer, precision and the start.

    Args:
        loaded: The config as `load_config` returns it.
        planned: The same after all changes by our tools; the Runner is built from it.
        task: `det`, `seg`, `joint` or `cls`.
    """
    recorded = deepcopy(loaded)
    for key in _CHOSEN:
        _take_over(recorded, planned, key)
    for split in ('train', 'val', 'test'):
        loader = recorded.get(f'{split}_dataloader')
        if isinstance(loader, dict):
            for key in _CHOSEN_OF_LOADER:
                _take_over(loader, planned[f'{split}_dataloader'], key)
    if planned.get('optim_wrapper'):
        recorded.optim_wrapper = _stock_wrapper(planned.optim_wrapper)
    if task != 'det':
        recorded = fill_palettes().change(recorded)
    _import_what_is_used(recorded)
    return recorded


def _take_over(target: Config | ConfigDict, source: Config | ConfigDict, key: str) -> None:
    if key in source:
        target[key] = deepcopy(source[key])
    else:
        target.pop(key, None)


def _stock_wrapper(wrapper: ConfigDict) -> ConfigDict:
    """Return the config of mmengine's own optimizer wrapper; its mixed precision needs a GPU."""
    wrapper = deepcopy(wrapper)
    if wrapper.get('constructor') == _OWN_CONSTRUCTOR:
        del wrapper['constructor']
    if type_name(wrapper) == _OWN_WRAPPER:
        wrapper.type = 'OptimWrapper'
        if torch.cuda.is_available():
            wrapper.update(type='AmpOptimWrapper', dtype='bfloat16', loss_scale=1.0)
    return wrapper


def _import_what_is_used(cfg: Config) -> None:
    """Add to `custom_imports` the modules that our tools import but a stock process does not."""
    imports = dict(cfg.get('custom_imports') or {})
    names = imports.get('imports') or []
    names = [names] if isinstance(names, str) else list(names)
    used = sorted({type_name(node) for node in walk(cfg._cfg_dict) if 'type' in node})
    # Names already listed come first, and a package comes before its modules.
    parts = sorted(filter(_is_part, sys.modules), key=lambda name: (name not in names, name))
    homes = [next((part for part in parts if _has(part, kind)), None) for kind in used]
    # This package comes first: it prepares the toolboxes that the other modules import.
    wanted = dict.fromkeys(['mbv2_backbone', *names, *filter(None, homes)])
    cfg.custom_imports = dict(imports, imports=list(wanted))


def _is_part(module: str) -> bool:
    return '.'.join(module.split('.')[:2]) in _PARTS


def _has(module: str, kind: str) -> bool:
    """Return whether importing a module provides a type: it exports or defines it."""
    content = vars(sys.modules[module])
    offered = content.get('__all__', ())
    return kind in offered or getattr(content.get(kind), '__module__', None) == module


def build_runner(planned: Config, recorded: Config) -> Runner:
    """Build the Runner from one config, but make it write another to files and checkpoints.

    mmengine names logger, metrics and log folder of a run by the second in which it begins, and
    those of one name are shared; a second run of a process begins in a later second.

    Args:
        planned: The config to run.
        recorded: The Runner's `cfg`, which it writes to the work directory, to checkpoints and
            to its visualizer as soon as it is built.
    """
    kind = RUNNERS.get(planned.get('runner_type', 'Runner'))

    class RecordingRunner(kind):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs | dict(cfg=recorded))

        def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
            logger = super().build_logger(*args, **kwargs)
            if in_notebook():  # whose cell would show a thousand lines before the first epoch
                logger.handlers[0].addFilter(lambda record: not _PREAMBLE.match(record.msg))
            return logger

    while any(name.endswith(time.strftime(_SECOND)) for name in MMLogger._instance_dict):
        time.sleep(0.02)
    return RecordingRunner.from_cfg(planned)
