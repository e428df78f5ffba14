"""How the datasets of a config read an image set, and what has to be written for them first."""

from __future__ import annotations

import json
import os.path as osp
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..files import write_atomically
from ..sets.layouts import read_json
from ..sets.records import ImageSet, Labelled, Source

HELD_OUT = ('val', 'test')


def held_out_splits(image_set: ImageSet) -> tuple[str, str]:
    """Return which splits to validate and to test on, the same one where there is one."""
    there = [
        split
        for split in HELD_OUT
        if any(item.record.boxes or item.mask for item in image_set.splits.get(split, ()))
    ]
    if not there:
        raise UserError(f'{image_set.root} has no labelled images to validate or to test on')
    return there[0], there[-1]


def readable_set(image_set: ImageSet) -> None:
    """Refuse a set that no dataset of ours reads.

    Raises:
        UserError: With the command that turns it into one of COCO's layout.
    """
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


def write_split(image_set: ImageSet) -> list[Path]:
    """Write the split that a hash of the names made, as the datasets read it.

    The files go into the folder of the set; `image_set` then knows them.

    Returns:
        The new files.

    Raises:
        UserError: If they cannot be written.
    """
    if not image_set.is_split_by_name:
        return []
    written = []
    for split, items in image_set.splits.items():
        source = image_set.sources[split]
        if image_set.layout == 'coco':
            path = image_set.root / 'annotations' / f'{split}.json'
            text = json.dumps(_part_of_coco(image_set, items), ensure_ascii=False)
        else:
            folder = 'Segmentation' if image_set.layout == 'masks' else 'Main'
            path = image_set.root / 'ImageSets' / folder / f'{split}.txt'
            text = ''.join(f'{item.path.stem}\n' for item in items)
        try:
            write_atomically(text.encode(), path)
        except OSError as error:
            raise UserError(f'cannot write the split of {image_set.root}: {error}') from error
        image_set.sources[split] = Source(source.images, path, source.masks)
        written.append(path)
    return written


def _part_of_coco(image_set: ImageSet, items: Sequence[Labelled]) -> dict[str, Any]:
    """Take some images out of the COCO file that a set was read from."""
    files = {item.annotation for item in image_set.images}
    if len(files) != 1:
        raise UserError(
            f'{image_set.root} has the COCO files {", ".join(map(str, sorted(files)))}, of which '
            f'none is called train or val; rename them'
        )
    data = read_json(files.pop())
    folder = image_set.sources['train'].images
    chosen = {item.path for item in items}
    images = [image for image in data['images'] if folder / image['file_name'] in chosen]
    ids = {image['id'] for image in images}
    annotations = [item for item in data['annotations'] if item['image_id'] in ids]
    return dict(images=images, annotations=annotations, categories=data['categories'])


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
            f'the images end in {", ".join(suffixes)}; mmseg reads one kind, so save all as one'
        )
    return suffixes[0]
