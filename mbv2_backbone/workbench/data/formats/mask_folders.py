"""Read datasets with masks: a folder of images and a folder of masks with the same names."""

from __future__ import annotations

from pathlib import Path

from ..names import read_classes, read_lists
from ..records import Dataset, Labelled, Source
from ..tree import Folder, Tree
from .by_image import Pair

_MASKS = ('segmentationclass', 'segmentationclasspng', 'masks', 'mask', 'labels', 'annotations')
_MASKS += ('labelmaps', 'gt', 'ann_dir', 'groundtruth', 'ground_truth', 'label', 'annotation')
_ENDS = ('annot', '_masks', '_mask', '_labels', '_label', '_annotations')  # trainannot of CamVid
_SUFFIXES = ('.png', '.bmp', '.tif', '.tiff')


def mask_folders(tree: Tree) -> list[Pair]:
    """Return the folders of images and of masks, which have the names of the images.

    They are side by side, split inside those, or the reverse.
    """
    by_images: dict[Path, Pair] = {}
    for folder in sorted(tree.folders, key=_rank):
        masks = _masks_in(folder)
        if masks and folder.is_of_root and _rank(folder) <= len(_MASKS):
            for images in tree.homes(folder, masks, of_masks=True):
                by_images.setdefault(images.path, Pair(images, folder))
    return list(by_images.values())


def _rank(folder: Folder) -> int:
    """Order folders of masks by their names; the highest is that of other folders."""
    names = [part.lower() for part in folder.parts]
    known = [_MASKS.index(name) for name in names if name in _MASKS]
    ends = [len(_MASKS) for name in names if name.endswith(_ENDS)]
    return min(known + ends, default=len(_MASKS) + 1)


def _masks_in(folder: Folder) -> dict[str, Path]:
    return {s: path for s, path in folder.images.items() if path.suffix.lower() in _SUFFIXES}


def read_masks(tree: Tree, pairs: list[Pair]) -> Dataset:
    """Read a dataset of images and masks; `classes.txt` names the mask values."""
    dataset = Dataset(tree.root, 'masks')
    dataset.mask_classes, dataset.mask_palette = read_classes(tree.root)
    for pair in pairs:
        split, images, masks = pair.split, pair.images.path, pair.annotations.path
        by_stem, mask_by_stem = pair.images.images, _masks_in(pair.annotations)
        masked = [stem for stem in by_stem if stem in mask_by_stem]
        has_lists = split is None and len(pairs) == 1
        lists, members = read_lists(dataset, 'Segmentation', masked) if has_lists else ({}, {})
        if split is None and not members:
            members = {'all': masked}
            dataset.unlabelled += [p for s, p in by_stem.items() if s not in mask_by_stem]
        for name, stems in (members or {split: list(by_stem)}).items():
            if name in dataset.sources:
                dataset.foreign = f'has the {name} images in several folders'
            dataset.sources[name] = Source(images, lists.get(name), masks)
            is_unlabelled = name == 'test' and mask_by_stem.keys().isdisjoint(stems)
            dataset.splits.setdefault(name, []).extend(
                Labelled(
                    by_stem.get(stem, images / f'{stem}.jpg'),
                    mask=None if is_unlabelled else mask_by_stem.get(stem, masks / f'{stem}.png'),
                )
                for stem in stems
            )
        alone = sorted(mask_by_stem.keys() - by_stem.keys())
        if alone:
            dataset.notes.append(f'{len(alone)} mask(s) without an image, such as {alone[0]}.png')
    return dataset


def add_masks(dataset: Dataset, tree: Tree) -> None:
    """Add the masks in the same folder to the images of a dataset with boxes, in place."""
    masks = {
        (pair.images.path, stem): path
        for pair in mask_folders(tree)
        for stem, path in _masks_in(pair.annotations).items()
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
