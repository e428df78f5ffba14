"""Split a dataset by hashing image names: the annotation files of each split."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...common.messages import UserError
from .names import MADE_SPLIT, read_json
from .records import SORTED, Dataset, Labelled


def made_files(dataset: Dataset) -> dict[str, tuple[Path, bytes]]:
    """Return the path and content of the file of each split; nothing is written.

    They are in a separate folder, so that they are not mistaken for the user's lists.

    Raises:
        UserError: If the dataset has several COCO files.
    """
    files = {}
    for split, items in dataset.splits.items():
        path = dataset.root / MADE_SPLIT / split
        if dataset.format == 'coco':
            text = json.dumps(_part_of_coco(dataset, items))
            files[split] = path.with_suffix('.json'), text.encode()
        else:
            text = ''.join(f'{_line(dataset, item)}\n' for item in items)
            files[split] = path.with_suffix('.txt'), text.encode()
    return files


def _line(dataset: Dataset, item: Labelled) -> str:
    if item.label is None:
        return item.path.stem
    path = item.path.relative_to(dataset.sources['train'].images)
    return f'{path.as_posix()}\t{dataset.classes[item.label]}'


def _part_of_coco(dataset: Dataset, items: Sequence[Labelled]) -> dict[str, Any]:
    """Select some images from the COCO file that a dataset was read from."""
    files = {item.annotation for item in dataset.images}
    if len(files) != 1:
        raise UserError(
            f'{dataset.root} has the COCO files {", ".join(map(str, sorted(files)))}, none '
            f'for validation; name one val.json'
        )
    data = read_json(files.pop())
    folder = dataset.sources['train'].images
    chosen = {item.path for item in items}
    images = [image for image in data['images'] if folder / image['file_name'] in chosen]
    ids = {image['id'] for image in images}
    annotations = [item for item in data.get('annotations', []) if item['image_id'] in ids]
    return dict(images=images, annotations=annotations, categories=data['categories'])


def note_outdated(dataset: Dataset) -> None:
    """Note if the split written earlier no longer matches the dataset, in place."""
    folder = dataset.root / MADE_SPLIT
    if (
        dataset.format not in ('coco', 'voc', 'masks', SORTED)
        or dataset.foreign
        or not folder.is_dir()
    ):
        return
    files = made_files(dataset)
    if all(path.is_file() and path.read_bytes() == text for path, text in files.values()):
        return
    listed: set[str] = set()
    for path, _ in files.values():
        if path.is_file() and path.suffix == '.txt':
            listed.update(path.read_text(encoding='utf-8').splitlines())
        elif path.is_file():
            listed.update(Path(image['file_name']).stem for image in read_json(path)['images'])
    new = sorted(
        item.path.name
        for item in dataset.images
        if listed.isdisjoint((item.path.stem, _line(dataset, item)))
    )
    named = f': {len(new)} annotated image(s) are not in its lists, e.g. {new[0]}' if new else ''
    dataset.notes.append(
        f'{folder} does not match the split of the current dataset{named}; delete it and write the '
        f'config again'
    )
