"""Class colours, for mask files and for drawing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from .plan import step
from .read import datasets_of, metainfo_of, type_name, walk

Palette = Sequence[Sequence[int]]


def class_palette(dataset: dict) -> Palette:
    """Return a colour for each class, as mmseg's datasets do.

    If the config selects some classes of a dataset, they keep their colours. Classes without a
    palette get mmseg's random one.
    """
    meta = metainfo_of(dataset)
    classes, palette = meta['classes'], meta.get('palette') or ()
    if not isinstance(palette, str) and len(palette) == len(classes):  # mmdet knows 'random'
        return palette
    own = metainfo_of(dict(type=dataset['type']))
    colours = dict(zip(own.get('classes') or (), own.get('palette') or (), strict=False))
    if all(name in colours for name in classes):
        return [colours[name] for name in classes]
    return random_palette(len(classes))


def random_palette(size: int) -> Palette:
    """Return the random colours that mmseg gives to classes without a palette."""
    return np.random.RandomState(42).randint(0, 255, (size, 3)).tolist()


def file_palette(dataset: dict) -> Palette | None:
    """Return the class colours in the mask files of a dataset, in the order of its indices.

    They come from the dataset's Python class: selecting classes in a config changes no files.
    """
    own, meta = metainfo_of(dict(type=dataset['type'])), metainfo_of(dataset)
    return meta.get('seg_palette') or own.get('palette') or meta.get('palette')


@step('palettes', "Masks stored as colours are decoded with the dataset's palette.")
def fill_palettes(cfg: Config) -> None:
    """Give each `LoadLabelMap` without a palette that of its dataset."""
    for dataset in datasets_of(cfg):
        for transform in walk(dataset.get('pipeline')):
            if type_name(transform).endswith('LoadLabelMap') and transform.get('palette') is None:
                transform['palette'] = file_palette(dataset)
