"""One loader of images for all datasets of a run."""

from __future__ import annotations

from mmengine.config import Config

from ...annotations.loading import LoadImageAsAnnotated
from .plan import step
from .read import type_name, walk


@step('image loader', 'Images of all formats are read as by the checks, predict.py and Predictor.')
def read_as_seen(cfg: Config) -> None:
    """Replace mmcv's `LoadImageFromFile` in all pipelines of a config; its arguments stay."""
    for node in walk(cfg._cfg_dict):
        if type_name(node) == 'LoadImageFromFile':
            node['type'] = LoadImageAsAnnotated.__name__
