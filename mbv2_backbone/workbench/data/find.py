"""Recognise the dataset format of a folder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ...common.messages import UserError
from .formats.by_image import folders_with, read_by_image
from .formats.coco import coco_files, read_coco
from .formats.labelme import read_labelme
from .formats.mask_folders import add_masks, mask_folders, name_values, read_masks
from .formats.voc import read_voc_folders, voc_folders
from .formats.yolo import read_yolo, yolo_files
from .made_split import note_outdated
from .names import split_by_name, split_folders
from .records import Dataset

# For each format: what finds it, in a folder and its split folders, and what reads what was
# found; the first format found is used.
_Look = Callable[[Path, dict[str, Path]], Any]
_READERS: dict[str, tuple[_Look, Callable[[Path, Any], Dataset]]] = {
    'coco': (lambda root, _: coco_files(root), read_coco),
    'voc': (voc_folders, read_voc_folders),
    'yolo': (yolo_files, read_yolo),
    'labelme': (
        partial(folders_with, '*.json'),
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
    task: str = 'det',
    keep_splits: bool = False,
) -> Dataset:
    """Find the images of a folder with their boxes and masks.

    Splits come from lists, file names and folder names. If these do not give any, a
    hash of the image names puts about a fifth into the validation split.

    Args:
        folder: A dataset in COCO, VOC, YOLO or LabelMe format, or one of images and masks.
        format_name: Which format to read, if the folder has several.
        task: `det`, `seg` or `both`, which decides what to prefer then: `seg` takes masks, the
            others boxes, in the order of `FORMATS`. `det` ignores masks.
        keep_splits: Keep the splits as found, even without one to validate on.

    Raises:
        UserError: If there is no such folder or format, or the folder has no dataset.
    """
    root = Path(folder)
    if not root.is_dir():
        raise UserError(f'no folder at {folder}; give one with images and annotations')
    if format_name not in (None, *FORMATS):
        raise UserError(f'unknown format {format_name!r}; there are {", ".join(FORMATS)}')
    splits = split_folders(root)
    files = {name: look(root, splits) for name, (look, _) in _READERS.items()}
    found = tuple(name for name in _READERS if files[name])
    if not found or format_name not in (None, *found):
        holds = (
            f'it holds {", ".join(found)}' if found else 'docs/training.md describes the formats'
        )
        raise UserError(
            f'{folder} holds no images with annotations in the format '
            f'{format_name or ", ".join(FORMATS)}; {holds}'
        )
    preferred = ('masks', *FORMATS) if task == 'seg' else FORMATS
    format_name = format_name or next(name for name in preferred if name in found)
    dataset = _READERS[format_name][1](root, files[format_name])
    dataset.found = found
    if format_name != 'masks' and task != 'det':
        add_masks(dataset)
    if format_name == 'masks' != found[0] and 'background' not in dataset.mask_classes:
        name_values(dataset, _READERS[found[0]][1](root, files[found[0]]).classes)
    _settle_splits(dataset, keep=keep_splits)
    return dataset


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
        f'of their names takes a fifth'
    )
    dataset.splits = split_by_name(dataset.images)
    dataset.sources = dict.fromkeys(dataset.splits, source)
    dataset.is_split_by_name = True
    note_outdated(dataset)
