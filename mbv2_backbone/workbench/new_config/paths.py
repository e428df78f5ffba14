"""Dataset settings for a new config, and the files that they need."""

from __future__ import annotations

import os.path as osp
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ...common.messages import UserError
from ..data.made_split import made_files
from ..data.records import ImageSet, Labelled, Source
from .code import Name

HELD_OUT = ('val', 'test')


def held_out_splits(image_set: ImageSet) -> tuple[str, str]:
    """Return which splits to validate and to test on, the same one where there is one."""
    there = [
        split
        for split in HELD_OUT
        if any(item.record.boxes or item.mask for item in image_set.splits.get(split, ()))
    ]
    if not there:
        raise UserError(f'{image_set.root} has no labelled images for validation or testing')
    return there[0], there[-1]


def readable_set(image_set: ImageSet) -> None:
    """Refuse a folder that no dataset class of ours reads, with the command that converts it."""
    root = image_set.root
    if image_set.layout == 'coco':
        return
    is_plain_voc = image_set.layout == 'voc' and (root / 'Annotations').is_dir()
    if is_plain_voc and all(item.path.suffix == '.jpg' for item in image_set.images):
        return
    what = image_set.layout if image_set.layout != 'voc' else 'such a VOC'
    raise UserError(
        f'{root} is in {what} layout, which no dataset of the toolboxes reads. Convert it, then '
        f'write the config for the new folder:\n'
        f'  python tools/data.py convert {root} {root}_coco --to coco\n'
        f'  python tools/new_config.py --data {root}_coco ...'
    )


def plan_split(image_set: ImageSet) -> dict[Path, bytes]:
    """Return the files that have to be written for a split that a hash of the names made.

    Nothing is written; `image_set` then knows the files.

    Raises:
        UserError: If such files are there and hold something else.
    """
    if not image_set.is_split_by_name:
        return {}
    new = {}
    for split, (path, text) in made_files(image_set).items():
        source = image_set.sources[split]
        image_set.sources[split] = Source(source.images, path, source.masks)
        if not path.exists():
            new[path] = text
        elif not path.is_file() or path.read_bytes() != text:
            raise UserError(
                f'{path} is there and holds something else than the split of the images and '
                f'annotations as they are now; delete {path.parent} to create it again'
            )
    return new


def held_out_settings(image_set: ImageSet, kind: str, make: Callable[[str], Any]) -> dict[str, Any]:
    """Return the settings `val_<kind>` and `test_<kind>`.

    Args:
        image_set: The dataset.
        kind: `dataloader` or `evaluator`.
        make: Takes the name of a split. Where both use the same one it is called once.
    """
    val, test = held_out_splits(image_set)
    name = f'val_{kind}'
    return {name: make(val), f'test_{kind}': Name(name) if test == val else make(test)}


def below_root(image_set: ImageSet, path: Path, *, is_folder: bool = False) -> str:
    """Return a path as it stands behind `data_root` in a config."""
    relative = osp.relpath(path, image_set.root).replace('\\', '/')
    if relative == '.':
        return ''
    return f'{relative}/' if is_folder else relative


def one_suffix(items: Sequence[Labelled]) -> str:
    """Return the suffix that all images have.

    Raises:
        UserError: If they have several.
    """
    suffixes = sorted({item.path.suffix for item in items})
    if len(suffixes) != 1:
        raise UserError(
            f'the images end in {", ".join(suffixes)}; mmseg reads only one suffix; save all '
            f'images with the same one'
        )
    return suffixes[0]
