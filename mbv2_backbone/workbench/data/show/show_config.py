"""Draw a config's training images as labelled and as augmented."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, RepeatDataset
from mmengine.registry import DATASETS
from mmengine.structures import BaseDataElement

from ....annotations.images import BrokenSampleError, decode_image
from ....common.messages import UserError
from ...checks.before_run import check_data
from ...configs.palettes import fill_palettes
from ...configs.plan import apply_steps, step
from ...configs.read import SPLITS, load_config, type_name, walk
from ...configs.summary import summarise
from ...drawing.painter import mask_labels
from ...train.seeding import SeededBatch
from ..records import Item
from .labelled import LabelledImage
from .sheet import Group, contact_sheet, picked

NUM_DRAWS = 3
_MAX_REFUSALS = 50  # samples that a pipeline may reject in a row, such as crops without an object


def config_sheet(
    path: str, *, split: str, num: int, seed: int, overrides: Sequence[str] | None
) -> np.ndarray:
    """Draw images of a config's data with their labels; for `train` also augmented.

    Arguments and errors are the same as for `show.show`.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    cfg = load_config(path, overrides)
    summary = summarise(cfg)
    if not cfg.get(f'{split}_dataloader'):
        raise UserError(f'{path} has no {split}_dataloader; choose another --split')
    check_data(summary, (split,))
    cfg = apply_steps(cfg, [fill_palettes(), leave_colours()])
    loader = cfg[f'{split}_dataloader']
    samples = [
        (dataset, index)
        for dataset in _leaves(DATASETS.build(loader.dataset))
        for index in range(len(dataset))
    ]
    num_draws = NUM_DRAWS if split == 'train' else 0
    groups = []
    for place in picked(len(samples), num, seed):
        dataset, index = samples[place]
        info = dataset.get_data_info(index)
        images = [_labelled(info, dataset)]
        images += _augmented(dataset, index, num_draws, (seed, place), info['img_path'])
        groups.append(Group(osp.basename(info['img_path']), images))
    augmented = [f'augmented {i + 1}' for i in range(num_draws)]
    return contact_sheet(
        groups,
        title=f'{path}, {split}: {len(groups)} of {len(samples)} images, seed {seed}',
        captions=['as labelled', *augmented] if augmented else (),
        boxes=summary.box_classes(),
        masks=summary.mask_classes(),
        images=summary.image_classes(),
    )


@step('colours', 'Images are shown in their own colours, not normalised.')
def leave_colours(cfg: Config) -> None:
    """Remove the steps that normalise colours from the pipelines."""
    for node in walk([cfg.get(f'{split}_dataloader') for split in SPLITS]):
        if 'pipeline' in node:
            node.pipeline = [s for s in node.pipeline if not type_name(s).endswith('Normalize')]


def _leaves(dataset: Any) -> Iterator[BaseDataset]:
    """Yield the datasets that read files, each once."""
    if isinstance(dataset, BaseDataset):
        dataset.full_init()
        yield dataset
    elif isinstance(dataset, ConcatDataset):
        for inner in dataset.datasets:
            yield from _leaves(inner)
    elif isinstance(dataset, (RepeatDataset, ClassBalancedDataset)):
        yield from _leaves(dataset.dataset)
    else:
        raise UserError(
            f'a {type(dataset).__name__} cannot be shown; expected a dataset that reads files, or '
            f'RepeatDataset, ClassBalancedDataset or ConcatDataset around such'
        )


def _labelled(info: dict, dataset: BaseDataset) -> LabelledImage:
    """Load an image and its labels as stored in the files."""
    instances = info.get('instances', [])
    shapes = [
        Item(item['bbox_label'], item['bbox'], is_ignored=bool(item.get('ignore_flag')))
        for item in instances
    ]
    loaders = [t for t in dataset.pipeline.transforms if type(t).__name__.startswith('Load')]
    path = info['img_path']
    try:
        for load in loaders:
            info = load(info)
    except BrokenSampleError as error:
        raise UserError(f'{path} {error}') from error
    image = info['img'] if 'img' in info else decode_image(info['img_bytes'])
    return LabelledImage(image, shapes, info.get('gt_seg_map'), info.get('gt_label'))


def _augmented(
    dataset: BaseDataset, index: int, count: int, key: Sequence[int], path: str
) -> list[LabelledImage]:
    images: list[LabelledImage] = []
    for i in SeededBatch([index] * count, key):
        draws = (dataset.prepare_data(i) for _ in range(_MAX_REFUSALS))
        packed = next((draw for draw in draws if draw is not None), None)
        if packed is None:
            raise UserError(f'the pipeline rejected {path} {_MAX_REFUSALS} times in a row')
        image = packed['inputs'].numpy().transpose(1, 2, 0).clip(0, 255).astype(np.uint8)
        sample = packed['data_samples']
        masks = mask_labels(sample, 'gt_sem_seg')
        label = int(sample.gt_label) if 'gt_label' in sample else None
        images.append(LabelledImage(image, _shapes_of(sample), masks, label))
    return images


def _shapes_of(sample: BaseDataElement) -> list[Item]:
    shapes = []
    for key in ('gt_instances', 'ignored_instances'):
        if key in sample:
            found = sample.get(key)
            boxes = getattr(found.bboxes, 'tensor', found.bboxes).tolist()
            labels = found.labels.tolist()
            shapes += [
                Item(label, box, is_ignored=key == 'ignored_instances')
                for label, box in zip(labels, boxes, strict=True)
            ]
    return shapes
