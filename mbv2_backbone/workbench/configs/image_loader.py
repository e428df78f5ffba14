"""One loader of images for all datasets of a run."""

from __future__ import annotations

from copy import deepcopy

from mmengine.config import Config

from ...annotations.loading import LoadImageAsAnnotated
from .plan import step
from .read import SPLITS, type_name, walk


@step('image loader', 'Images of every format are read as everywhere else in this package.')
def read_as_seen(cfg: Config) -> None:
    """Replace mmcv's `LoadImageFromFile` in the pipelines that a run uses; its arguments stay."""
    for key in (*(f'{split}_dataloader' for split in SPLITS), 'custom_hooks'):
        if key in cfg:
            cfg[key] = deepcopy(cfg[key])  # not also the tta_pipeline, which a run records
            for node in walk(cfg[key]):
                if type_name(node) == 'LoadImageFromFile':
                    node['type'] = LoadImageAsAnnotated.__name__
