"""Read the data of a config as a dataset."""

from __future__ import annotations

from pathlib import Path

from mmengine.registry import DATASETS

from ....annotations.boxes import Object
from ...checks.image_files import samples_of
from ...configs.summary import ConfigSummary
from ..records import Annotation, Dataset, Labelled


def config_splits(summary: ConfigSummary) -> tuple[str, ...]:
    """Return `train`, `val`, and `test` unless it has the same data as `val`."""
    keys = ('data_root', 'ann_file', 'data_prefix')
    data = {
        split: [[one.config.get(key) for key in keys] for one in datasets]
        for split, datasets in summary.datasets.items()
    }
    splits = [split for split, identity in data.items() if identity]
    if data['test'] == data['val'] and 'test' in splits:
        splits.remove('test')
    return tuple(splits)


def set_of_config(summary: ConfigSummary, path: Path, splits: tuple[str, ...]) -> Dataset:
    """Build the datasets of a config that can be read, and collect the images they use."""
    dataset = Dataset(path, 'config')
    for split in splits:
        items = []
        for one in summary.datasets[split]:
            node = dict(one.config, pipeline=[], serialize_data=False)
            samples = samples_of(DATASETS.build(node))
            if any('instances' in sample for sample in samples):
                dataset.classes = tuple(one.metainfo['classes'])
            items += [_labelled(sample, dataset.classes) for sample in samples]
        dataset.splits[split] = items
    return dataset


def _labelled(sample: dict, classes: tuple[str, ...]) -> Labelled:
    objects = [
        Object(
            name=classes[box['bbox_label']],
            stored=box['bbox'],
            xyxy=box['bbox'],
            is_ignored=bool(box.get('ignore_flag')),
        )
        for box in sample.get('instances', [])
    ]
    stated_wh = (sample['width'], sample['height']) if 'width' in sample else None
    mask = sample.get('seg_map_path')
    return Labelled(
        Path(sample['img_path']),
        lambda _: Annotation(objects, stated_wh),
        classes,
        mask=Path(mask) if mask else None,
    )
