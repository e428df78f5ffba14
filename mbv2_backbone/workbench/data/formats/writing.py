"""Write annotations in COCO, VOC, YOLO and LabelMe format."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ....common.messages import first_names
from ..names import BACKGROUND, CLASS_FILES, read_class_file
from ..outlines import bounds_of
from ..records import AnnotatedImage, Item

Splits = Mapping[str, Sequence[AnnotatedImage]]
MOVED = 0.01  # pixels from which on a box counts as another
DIGITS = 6  # decimals of a pixel; removes the noise of sums and differences


def rounded(values: Sequence[float]) -> list[float]:
    """Round coordinates, to remove the noise of sums and differences."""
    return [round(float(value), DIGITS) for value in values]


def write_json(path: Path, document: dict) -> None:
    """Write a JSON file that reads the same under every locale."""
    path.write_text(json.dumps(document), encoding='ascii')  # pycocotools reads by locale


def moved_boxes(format_name: str, items: Sequence[Item]) -> list[str]:
    """Report how many boxes are replaced by the bounding boxes of their outlines."""
    moved = [
        max(abs(a - b) for a, b in zip(bounds_of(item.outline), item.box, strict=True))
        for item in items
        if item.outline
    ]
    count = sum(distance > MOVED for distance in moved)
    if not count:
        return []
    return [
        f'{count} box(es) become those around their outlines, by up to {round(max(moved), 2):g} '
        f'pixels: {format_name} cannot store both'
    ]


def write_classes(root: Path, classes: Sequence[str], items: Sequence[Item]) -> list[str]:
    """Write the class names in order, which the format itself does not store.

    Returns:
        A note on a background without objects, or one if the names would be read otherwise;
        nothing is written then.
    """
    path = root / CLASS_FILES[0]
    path.write_text(''.join(f'{name}\n' for name in classes), 'utf-8')
    if read_class_file(path)[0] == tuple(classes):
        is_empty = all(classes[item.label] != BACKGROUND for item in items)
        is_lost = BACKGROUND in classes and is_empty
        note = f'{path.name}: {BACKGROUND} has no object, so it is no class of the new dataset'
        return [note] if is_lost else []
    path.unlink()
    return [
        f'{path.name} is left out: it cannot hold all of the names {first_names(classes)}; the '
        f'classes become those that have objects, in alphabetical order'
    ]


def images_of(splits: Splits) -> list[AnnotatedImage]:
    """Return the images of all splits."""
    return [image for images in splits.values() for image in images]
