"""Format a written config: its header, its bases and its settings."""

from __future__ import annotations

import os.path as osp
from pathlib import Path
from typing import Any

from ...common.own_configs import PREFIX, config_path, is_installed
from ..data.records import Dataset
from .code import assign
from .seg import trained_classes

_TITLES = dict(
    det='SSDLite-MobileNetV2',
    seg='DeepLabV3-MobileNetV2',
    both='SSDLite and DeepLabV3 in one',
    cls='MobileNetV2 as a classifier',
)
_BASES = dict(
    det='ssdlite_mbv2_coco_plus.py',
    seg='_base_/deeplabv3_mbv2.py',
    both='ssdlite-deeplabv3_mbv2_sample.py',
    cls='mobilenetv2_folders.py',
)
_SEG_BASES = (
    'mmseg::_base_/default_runtime.py',
    'mmseg::_base_/schedules/schedule_40k.py',
)


def config_text(
    dataset: Dataset, task: str, settings: dict[str, Any], facts: list[str], path: Path
) -> str:
    """Format a config.

    Args:
        dataset: What it trains on.
        task: `det`, `seg`, `both` or `cls`.
        settings: By name, in order, after the bases and the data.
        facts: What was chosen, one line each.
        path: Where it will be written, which the paths of its bases are relative to.
    """
    classes = trained_classes(dataset) if task == 'seg' else dataset.classes
    val, _ = dataset.held_out
    counts = [len(dataset.splits[split]) for split in ('train', val)]
    root = str(dataset.root)
    header = [
        f'{_TITLES[task]} on {root}: {len(classes)} classes,',
        f'{counts[0]} training images, {counts[1]} validation images. '
        f'Written by tools/new_config.py.',
        *facts,
        f'python tools/train.py {path}',
    ]
    bases = _base(_BASES[task], path)
    parts = {
        '_base_': [bases, *_SEG_BASES] if task == 'seg' else bases,
        'data_root': osp.join(root, ''),
        'data_help': f'This config was written for the images in {root}.',
        'classes': classes,
        **settings,
    }
    comment = ''.join(f'# {line}\n' for line in header)
    code = [assign(name, value) for name, value in parts.items()]
    return comment + ''.join(f'\n{c}' if c.count('\n') > 2 else c for c in code)


def _base(name: str, path: Path) -> str:
    """Return how a config at a path refers to its base in this project."""
    if is_installed():
        return PREFIX + name  # a path would break in another environment
    own, folder = osp.realpath(config_path(name)), osp.abspath(path.parent)
    # mmengine resolves `..` sometimes by the text of the path, sometimes through links.
    if folder == osp.realpath(folder):
        own = osp.relpath(own, folder)
    return own.replace('\\', '/')
