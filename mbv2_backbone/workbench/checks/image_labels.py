"""Check that a joint model's classifier has something to learn from."""

from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from ...common.messages import UserError
from ..configs.read import type_name, walk
from ..configs.summary import ConfigSummary


def check_image_labels(cfg: Config, summary: ConfigSummary, splits: Sequence[str]) -> None:
    """Refuse to train a joint model's classifier if no image would have a class.

    Args:
        cfg: The config.
        summary: Summary of the config.
        splits: Any of `train`, `val`, `test`; only the first is checked.

    Raises:
        UserError: If the pipeline does not keep the class, or no listed image is there.
    """
    if 'train' not in splits or not cfg.model.get('cls_head'):
        return
    for dataset in summary.datasets['train']:
        steps = list(walk(dataset.config.get('pipeline')))
        if not any('gt_label' in step.get('meta_keys', ()) for step in steps):
            raise UserError(
                'the classifier of the model would learn nothing: put '
                "dict(type='LoadImageLabel') after LoadImageFromFile in the training pipeline, and "
                'put gt_label into the meta_keys of PackDetInputs'
            )
        for step in steps:
            if type_name(step) == 'LoadImageLabel' and step.get('ann_file'):
                _check_list(step)


def _check_list(loader: dict) -> None:
    from ...cls.class_folders import read_list  # the other tasks need no classifier

    root = Path(loader.get('img_prefix', ''))
    paths = [path for path, _ in read_list(loader['ann_file'], root, loader.get('classes', ()))]
    if not any(map(osp.exists, paths)):
        example = f', e.g. {paths[0]}' if paths else ''
        raise UserError(
            f'no image of {loader["ann_file"]} is there{example}; set img_prefix of '
            f'LoadImageLabel to the folder that its paths are relative to'
        )
