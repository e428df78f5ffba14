"""Recognise the dataset format of a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...common.messages import UserError, first_names
from .formats.by_image import pairs_with, read_by_image
from .formats.coco import coco_files, read_coco
from .formats.labelme import read_labelme
from .formats.mask_folders import add_masks, mask_folders, name_values, read_masks
from .formats.voc import read_voc_pairs, voc_pairs
from .formats.yolo import read_yolo
from .formats.yolo_files import yolo_files
from .layouts import LAYOUTS, nothing_found
from .made_split import note_outdated
from .names import split_by_name
from .records import SORTED, Dataset
from .tree import Tree

# For each format: what finds it in the folders of a dataset, and what reads what was found; the
# first format found is used.
_Look = Callable[[Tree], Any]
_READERS: dict[str, tuple[_Look, Callable[[Tree, Any], Dataset]]] = {
    'coco': (coco_files, read_coco),
    'voc': (voc_pairs, read_voc_pairs),
    'yolo': (yolo_files, read_yolo),
    'labelme': (
        partial(pairs_with, suffix='.json', mark=b'"shapes"'),
        partial(read_by_image, 'labelme', '.json', read_labelme),
    ),
    'masks': (mask_folders, read_masks),
}
FORMATS = tuple(_READERS)
_USED = {'train', 'val', 'test'}


def find_dataset(
    folder: str | Path,
    *,
    format_name: str | None = None,
    task: str | None = 'det',
    keep_splits: bool = False,
) -> Dataset:
    """Find the images of a folder with their boxes and masks.

    Splits come from lists, file names and folder names. If these do not give any, a
    hash of the image names puts about a fifth into the validation split.

    Args:
        folder: A dataset in COCO, VOC, YOLO or LabelMe format, or one of images and masks.
        format_name: Which format to read, if the folder has several.
        task: `det`, `seg` or `both`, which decides what to prefer then: `seg` takes masks, the
            others boxes, in the order of `FORMATS`. `det` ignores masks. `cls` reads images that
            are sorted by class; `None` does so if there is nothing else.
        keep_splits: Keep the splits as found, even without one to validate on.

    Raises:
        UserError: If there is no such folder or format, or the folder has no dataset.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'no folder at {folder}; give one with images and annotations')
    if format_name not in (None, *FORMATS):
        raise UserError(f'unknown format {format_name!r}; there are {", ".join(FORMATS)}')
    if task == 'cls':
        return _sorted_by_class(root, format_name, keep=keep_splits)
    try:
        tree, files = _dataset_in(root)
    except UserError:
        if task is not None or format_name is not None or not _is_sorted_by_class(root):
            raise
        return _sorted_by_class(root, None, keep=keep_splits)
    found = tuple(files)
    if format_name not in (None, *found):
        raise UserError(
            f'{folder} holds no images with annotations in the format {format_name}; it holds '
            f'{", ".join(found)}. The format is laid out so:\n{LAYOUTS[format_name]}'
        )
    preferred = ('masks', *FORMATS) if task == 'seg' else FORMATS
    format_name = format_name or next(name for name in preferred if name in found)
    dataset = _READERS[format_name][1](tree, files[format_name])
    dataset.found = found
    if format_name != 'masks' and task != 'det':
        add_masks(dataset, tree)
    if format_name == 'masks' != found[0] and 'background' not in dataset.mask_classes:
        name_values(dataset, _READERS[found[0]][1](tree, files[found[0]]).classes)
    if tree.root != root:
        dataset.notes.append(f'the dataset is in {tree.root}')
    _note_left_over(dataset, tree)
    _settle_splits(dataset, keep=keep_splits)
    return dataset


def guess_task(folder: str | Path, *, format_name: str | None = None) -> str:
    """Return the task that a folder's annotations are for: `det`, `seg`, `both` or `cls`.

    Args:
        folder: See `find_dataset`, as for the other argument and what is raised.
        format_name: Which format to read, if the folder has several.
    """
    dataset = find_dataset(folder, format_name=format_name, task=None, keep_splits=True)
    if dataset.format in ('masks', SORTED):
        return 'seg' if dataset.format == 'masks' else 'cls'
    return 'both' if any(item.mask for item in dataset.images) else 'det'


def _is_sorted_by_class(root: Path) -> bool:
    from .formats.sorted_images import is_sorted  # the other tasks need no classifier

    return is_sorted(root)


def _sorted_by_class(root: Path, format_name: str | None, *, keep: bool) -> Dataset:
    from .formats.sorted_images import read_sorted

    if format_name is not None:
        raise UserError(
            '--layout is one of boxes or masks; leave it out for images sorted by class'
        )
    dataset = read_sorted(root)
    if dataset.images:
        _settle_splits(dataset, keep=keep)
    return dataset


def _dataset_in(root: Path) -> tuple[Tree, dict[str, Any]]:
    """Find what is in each format in a folder, or in the only dataset in a folder inside it."""
    tree = Tree(root)
    files = {name: look(tree) for name, (look, _) in _READERS.items()}
    files = {name: value for name, value in files.items() if value}
    if files:
        return tree, files
    inside = []
    for folder in tree.folders:
        if len(folder.parts) == 1:
            try:
                inside.append(_dataset_in(folder.path))
            except UserError:
                continue
    if not inside:
        raise UserError(nothing_found(tree))
    if len(inside) > 1:
        several = ', '.join(f'{tree.root} ({", ".join(files)})' for tree, files in inside)
        raise UserError(f'{root} holds several datasets: {several}; name one of these folders')
    return inside[0]


def _note_left_over(dataset: Dataset, tree: Tree) -> None:
    """Note the folders of images from which no image was taken, in place."""
    images = [*(item.path for item in dataset.images), *dataset.unlabelled]
    used, names = set(images), {path.stem for path in images}
    left = [
        f'{len(folder.images)} in {folder.path}'
        for folder in tree.folders
        if folder.images
        and not folder.is_of_masks
        and used.isdisjoint(folder.images.values())
        and (names.isdisjoint(folder.images) or folder.split not in (None, *dataset.splits))
    ]
    if left:
        dataset.notes.append(f'images without annotations that were found: {first_names(left)}')


def _settle_splits(dataset: Dataset, *, keep: bool) -> None:
    """Reduce to a split to train on and one to validate or test on, in place."""
    splits, sources = dataset.splits, dataset.sources
    annotated = [str(item.path) for item in dataset.images]
    trainval = splits.pop('trainval', None)
    trainval_source = sources.pop('trainval', None)
    if trainval is not None and 'train' not in splits:
        splits['train'], sources['train'] = trainval, trainval_source
    if not keep:
        if 'train' in splits and ('val' in splits or 'test' in splits):
            for name in splits.keys() - _USED:
                del splits[name], sources[name]
        else:
            _split_by_name(dataset)
    dataset.note_unlisted(annotated, [str(item.path) for item in dataset.images])


def _split_by_name(dataset: Dataset) -> None:
    source = next(iter(dataset.sources.values()))
    dataset.notes.append(
        f'the dataset has no validation split (found: {", ".join(dataset.splits)}); a hash '
        f'of their names takes about a fifth'
    )
    dataset.splits = split_by_name(dataset.images)
    dataset.sources = dict.fromkeys(dataset.splits, source)
    dataset.is_split_by_name = True
    note_outdated(dataset)
