"""The colours of classes: in the files of a dataset, and in what we draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from mmengine.config import Config

from .read import dataset_meta, datasets_of, metainfo_of, type_name, walk

Palette = Sequence[Sequence[int]]


def mask_meta(cfg: Config) -> dict:
    """Return `classes` and `palette`, a colour for each, of the masks of a config's test data.

    Raises:
        UserError: If neither the config nor the dataset's class names the classes.
    """
    meta = metainfo_of(_dataset_with_classes(cfg))
    if meta.get('seg_classes'):
        classes = tuple(meta['seg_classes'])
        return dict(
            classes=classes, palette=meta.get('seg_palette') or _random_palette(len(classes))
        )
    return class_meta(cfg)


def class_meta(cfg: Config) -> dict:
    """Return `classes` and `palette`, a colour for each, of a config's test data.

    In a joint model they are those of the boxes.

    Raises:
        UserError: If neither the config nor the dataset's class names the classes.
    """
    dataset = _dataset_with_classes(cfg)
    return dict(classes=dataset_meta(cfg)['classes'], palette=class_palette(dataset))


def _dataset_with_classes(cfg: Config) -> dict:
    dataset_meta(cfg)  # raises where there is none
    datasets = datasets_of(cfg, ('test', 'val', 'train'))
    return next(node for node in datasets if metainfo_of(node).get('classes'))


def class_palette(dataset: dict) -> Palette:
    """Return a colour for each class, as mmseg's datasets do.

    Where the config picks some classes of a dataset, they keep their colours. Classes without a
    palette get the random one of mmseg.
    """
    meta = metainfo_of(dataset)
    classes, palette = meta['classes'], meta.get('palette') or ()
    if len(palette) == len(classes):
        return palette
    own = metainfo_of(dict(type=dataset['type']))
    colours = dict(zip(own.get('classes') or (), own.get('palette') or (), strict=False))
    if all(name in colours for name in classes):
        return [colours[name] for name in classes]
    return _random_palette(len(classes))


def _random_palette(size: int) -> Palette:
    return np.random.RandomState(42).randint(0, 255, (size, 3)).tolist()


def file_palette(dataset: dict) -> Palette | None:
    """Return the colours of the classes in the files of a dataset, in the order of its indices.

    They are those of the dataset's class: a config that picks some classes does not change files.
    """
    own, meta = metainfo_of(dict(type=dataset['type'])), metainfo_of(dataset)
    return meta.get('seg_palette') or own.get('palette') or meta.get('palette')


def fill_palettes(cfg: Config) -> None:
    """Give the palette of its dataset to each `LoadLabelMap` without one, in place."""
    for dataset in datasets_of(cfg):
        for step in walk(dataset.get('pipeline')):
            if type_name(step).endswith('LoadLabelMap') and step.get('palette') is None:
                step['palette'] = file_palette(dataset)


def class_names(cfg: Config) -> dict[str, dict]:
    """Return `classes` and `palette` of a config's boxes (`det`) and masks (`seg`)."""
    names = {}
    if 'bbox_head' in cfg.model:
        names['det'] = dataset_meta(cfg)
    if 'decode_head' in cfg.model:
        names['seg'] = mask_meta(cfg)
    return names
