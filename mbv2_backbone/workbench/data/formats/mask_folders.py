"""Read datasets with masks: a folder of images and a folder of masks with the same names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..names import images_in, read_classes, read_lists, split_folders
from ..records import Dataset, Labelled, Source
from .by_image import Folders

_IMAGES = ('JPEGImages', 'images', 'image', 'imgs', 'img')
_MASKS = ('SegmentationClass', 'masks', 'mask', 'labels', 'annotations', 'labelmaps', 'gt')
_ENDS = ('annot', '_masks', '_labels', '_annotations')  # CamVid has train and trainannot


def mask_folders(root: Path, splits: Mapping[str, Path]) -> Folders:
    """Return the image and mask folders: side by side, split inside those, or the reverse."""
    groups = [
        [(None, root / i, root / m) for i in _IMAGES for m in _MASKS],
        [
            (split, images, root / m / images.name)
            for i in _IMAGES
            for split, images in split_folders(root / i).items()
            for m in _MASKS
        ],
        [(s, path / i, path / m) for s, path in splits.items() for i in _IMAGES for m in _MASKS],
        [
            (split, path, path.with_name(path.name + end))
            for split, path in splits.items()
            for end in _ENDS
        ],
    ]
    for group in groups:
        found = {}
        for split, images, masks in group:
            if split not in found and not _masks_in(masks).keys().isdisjoint(images_in(images)):
                found[split] = (split, images, masks)
        if found:
            return list(found.values())
    return []


def _masks_in(folder: Path) -> dict[str, Path]:
    return {stem: path for stem, path in images_in(folder).items() if path.suffix == '.png'}


def read_masks(root: Path, folders: Folders) -> Dataset:
    """Read a dataset of images and masks; `classes.txt` names the mask values."""
    dataset = Dataset(root, 'masks')
    dataset.mask_classes, dataset.mask_palette = read_classes(root)
    for split, images, masks in folders:
        by_stem, mask_by_stem = images_in(images), _masks_in(masks)
        masked = [stem for stem in by_stem if stem in mask_by_stem]
        lists, members = ({}, {}) if split else read_lists(dataset, 'Segmentation', masked)
        if split is None and not members:
            members = {'all': masked}
            dataset.unlabelled += [p for s, p in by_stem.items() if s not in mask_by_stem]
        for name, stems in (members or {split: list(by_stem)}).items():
            dataset.sources[name] = Source(images, lists.get(name), masks)
            is_unlabelled = name == 'test' and mask_by_stem.keys().isdisjoint(stems)
            dataset.splits[name] = [
                Labelled(
                    by_stem.get(stem, images / f'{stem}.jpg'),
                    mask=None if is_unlabelled else masks / f'{stem}.png',
                )
                for stem in stems
            ]
        alone = sorted(mask_by_stem.keys() - by_stem.keys())
        if alone:
            dataset.notes.append(f'{len(alone)} mask(s) without an image, such as {alone[0]}.png')
    return dataset


def add_masks(dataset: Dataset) -> None:
    """Add the masks in the same folder to the images of a dataset with boxes, in place."""
    masks = {
        (images, stem): path
        for _, images, folder in mask_folders(dataset.root, split_folders(dataset.root))
        for stem, path in _masks_in(folder).items()
    }
    if not masks:
        return
    for split, items in dataset.splits.items():
        for item in items:
            item.mask = masks.get((item.path.parent, item.path.stem))
        folders = {item.mask.parent for item in items if item.mask}
        if folders:
            source = dataset.sources[split]
            dataset.sources[split] = Source(source.images, source.annotations, folders.pop())
    name_values(dataset, dataset.classes)


def name_values(dataset: Dataset, box_classes: tuple[str, ...]) -> None:
    """Name the values in the masks of a dataset that also has boxes, in place.

    They come from `classes.txt`; without it, or if it lists the box classes, they are `background`
    and the box classes.
    """
    names, palette = read_classes(dataset.root)
    if names in ((), box_classes):
        names, palette = ('background', *box_classes), ()
    dataset.mask_classes, dataset.mask_palette = names, palette
