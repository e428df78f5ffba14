"""Dataset settings for a new config, and the files that they need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from shlex import quote
from typing import Any

from ...common.messages import UserError
from ..data.made_split import made_files
from ..data.records import Dataset, Source
from .code import Name


def check_fits(dataset: Dataset, task: str) -> None:
    """Reject a dataset that lacks what a task needs, or that no dataset class reads."""
    if task == 'cls':
        return
    has_masks = any(item.mask for item in dataset.images)
    if task != 'seg':
        if dataset.format == 'masks':
            raise UserError(f'{dataset.root} holds masks but no boxes; try --task seg')
        _check_readable(dataset)
    if task == 'both' and dataset.format != 'coco':
        raise UserError(
            f'a joint model reads boxes in COCO format; {dataset.root} is in {dataset.format} '
            f'format. python tools/data.py convert {quote(str(dataset.root))} OUT --to coco'
        )
    if task != 'det' and not has_masks:
        raise UserError(
            f'{dataset.root} holds no masks: expected PNG files named like the images, in '
            f'a folder such as masks or SegmentationClass; found: {", ".join(dataset.found)}'
        )
    if task == 'seg' and dataset.format != 'masks':
        raise UserError(
            f'a segmentor reads images and masks, not {dataset.format} format; leave '
            f'--layout out, or set it to masks'
        )
    if task == 'seg' and dataset.foreign:
        raise UserError(
            f'{dataset.root} {dataset.foreign}, but mmseg reads one folder or list for each split; '
            f'put its images into one folder and its masks into another'
        )
    if task == 'both':
        _check_joint_masks(dataset)


def _check_joint_masks(dataset: Dataset) -> None:
    from PIL import Image

    from ...annotations.masks import COLOUR_MODES

    if dataset.void_classes:
        raise UserError('a joint model ignores the value 255 in masks only; write void as 255')
    for item in dataset.images if dataset.mask_palette else ():
        if item.mask and item.mask.is_file():
            with Image.open(item.mask) as mask:
                is_coloured = mask.mode in COLOUR_MODES
            if is_coloured:
                raise UserError(
                    f'a joint model reads indices in masks, and {item.mask} stores the classes as '
                    f'colours; save masks as indices 0, 1, … in the order of the classes'
                )


def _check_readable(dataset: Dataset) -> None:
    """Reject a folder that none of our dataset classes reads, with the command to convert it."""
    root = dataset.root
    if dataset.format == 'coco' and not dataset.foreign:
        return
    is_plain_voc = dataset.format == 'voc' and not dataset.foreign
    is_plain_voc &= all(source.images == root / 'JPEGImages' for source in dataset.sources.values())
    if is_plain_voc and all(item.path.suffix == '.jpg' for item in dataset.images):
        return
    what = (
        f'is in {dataset.format} format'
        if dataset.format != 'voc'
        else 'has VOC files in other folders, or images of other formats, than JPEGImages/*.jpg'
    )
    new = quote(f'{root}_coco')
    raise UserError(
        f'{root} {dataset.foreign or what}, which no dataset of the toolboxes reads. Convert it, '
        f'then write the config for the new folder:\n'
        f'  python tools/data.py convert {quote(str(root))} {new} --to coco\n'
        f'  python tools/new_config.py --data {new} ...'
    )


def plan_split(dataset: Dataset) -> dict[Path, bytes]:
    """Return the files to write for a split that was made from a hash of the names.

    Nothing is written; `dataset` then refers to the files.

    Raises:
        UserError: If such files exist with other content.
    """
    if not dataset.is_split_by_name:
        return {}
    new = {}
    for split, (path, text) in made_files(dataset).items():
        source = dataset.sources[split]
        dataset.sources[split] = Source(source.images, path, source.masks)
        if not path.exists():
            new[path] = text
        elif not path.is_file() or path.read_bytes() != text:
            raise UserError(
                f'{path} exists, and does not match the split of the current images and '
                f'annotations; delete {path.parent} to create it again'
            )
    return new


def held_out_settings(
    splits: tuple[str, str], kind: str, make: Callable[[str], Any]
) -> dict[str, Any]:
    """Return the settings `val_<kind>` and `test_<kind>`.

    Args:
        splits: The splits to validate and to test on.
        kind: `dataloader` or `evaluator`.
        make: Takes the name of a split. If both use the same one it is called once.
    """
    val, test = splits
    name = f'val_{kind}'
    return {name: make(val), f'test_{kind}': Name(name) if test == val else make(test)}


def one_suffix(paths: Iterable[Path], kind: str = 'images') -> str:
    """Return the suffix that all files of a kind have.

    Raises:
        UserError: If there are several.
    """
    suffixes = sorted({path.suffix for path in paths})
    if len(suffixes) != 1:
        raise UserError(
            f'the {kind} end in {", ".join(suffixes)}; mmseg reads only one suffix; save all '
            f'{kind} with the same one'
        )
    return suffixes[0]
