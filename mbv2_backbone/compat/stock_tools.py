"""Workarounds for the toolboxes' own tools, for when `mbv2 stock` runs them: one function each.

Each docstring starts with the reason, the versions concerned and when the function can go.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch

from .prepare import join_cpu_processes

_SEABORN = 'seaborn-v0_8-'  # prefix of the styles that matplotlib took from seaborn


def prepare_stock_tools(toolbox: str, name: str) -> None:
    """Apply the workarounds that a tool needs; the general ones ran when this package loaded."""
    join_processes_without_gpu()
    if name == 'analyze_logs':
        draw_logs_without_seaborn()
    if (toolbox, name) == ('mmseg', 'confusion_matrix'):
        take_classes_of_config()


def join_processes_without_gpu() -> None:
    """Let `--launcher pytorch` start several processes on a CPU.

    Reason, versions and when to delete: see `compat.join_cpu_processes`.
    """
    from mmengine.runner import Runner

    from_cfg = Runner.from_cfg.__func__

    def from_cfg_anywhere(cls: type[Runner], cfg: Any) -> Runner:
        if cfg.get('launcher') == 'pytorch' and not torch.cuda.is_available():
            join_cpu_processes(cfg)
        return from_cfg(cls, cfg)

    Runner.from_cfg = classmethod(from_cfg_anywhere)


def draw_logs_without_seaborn() -> None:
    """Let matplotlib find seaborn's styles, which it has under longer names.

    Reason: analyze_logs.py uses seaborn only to set a style, and no toolbox requires seaborn;
    that of onedl-mmdetection asks matplotlib for seaborn's name, which is an error.
    Versions: mmdet 3.3.0, onedl-mmdetection 3.5.1, mmsegmentation 1.2.2 and
    onedl-mmsegmentation 1.4.2.
    Delete when: analyze_logs.py runs on matplotlib alone.
    """
    from matplotlib import style

    for name, settings in list(style.library.items()):
        if name.startswith(_SEABORN):
            style.library.setdefault(name.removeprefix(_SEABORN), settings)
    if find_spec('seaborn') is None:
        stand_in = ModuleType('seaborn', 'Its styles alone, out of matplotlib.')
        stand_in.__spec__ = ModuleSpec('seaborn', loader=None)
        stand_in.set_style = style.use
        sys.modules['seaborn'] = stand_in


def take_classes_of_config() -> None:
    """Give `METAINFO` of an mmseg dataset the classes from its config.

    Reason: confusion_matrix.py reads the classes in the code of the dataset, and so
    fails on a dataset that got them from its config, with a KeyError or with the wrong classes.
    Versions: mmsegmentation 1.2.2, onedl-mmsegmentation 1.4.2.
    Delete when: confusion_matrix.py reads `dataset.metainfo`.
    """
    from mmseg.datasets import BaseSegDataset

    initialise = BaseSegDataset.__init__

    def with_classes(self: BaseSegDataset, *args: Any, **kwargs: Any) -> None:
        initialise(self, *args, **kwargs)
        self.METAINFO = self.metainfo  # the class, which everything else reads, is unchanged

    BaseSegDataset.__init__ = with_classes
