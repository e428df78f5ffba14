"""Images with their objects, read from any format, for conversion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ...annotations.images import ROUNDING, read_image
from ...annotations.objects import sort_objects
from ...common.messages import UserError, first_names
from .names import split_in
from .outlines import read_outline
from .records import AnnotatedImage, Dataset, Item, Labelled, Size


@dataclass
class Findings:
    """What a conversion could not keep.

    Attributes:
        problems: What is wrong with the input, by file.
        notes: What the new format cannot hold, and what was renamed.
    """

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def collect(
    dataset: Dataset, findings: Findings, *, one_folder: bool
) -> dict[str, list[AnnotatedImage]]:
    """Read a dataset; its problems are added to the findings.

    With `one_folder`, image names are unique over all splits, not only within each.

    Returns:
        The readable images of each split; a dataset without splits is all `train`.
    """
    images: dict[str, list[AnnotatedImage]] = {}
    taken: set[str] = set()
    has_splits = any(map(split_in, dataset.splits))
    for name, labelled in dataset.splits.items():
        split = name if has_splits else 'train'
        if has_splits and not one_folder:
            taken = set()
        images.setdefault(split, [])
        for item in labelled:
            image = read_annotated_image(item, dataset.format, findings)
            if image is not None:
                name = _free_name(item.path, taken, one_folder=one_folder)
                if name != item.path.name:
                    findings.notes.append(f'{item.path} is {name} in the new dataset')
                images[split].append(replace(image, name=name))
    listed = {item.path for item in dataset.images}
    names = [path.name for path in dataset.unlabelled if path not in listed]
    if names:
        findings.notes.append(
            f'{len(names)} image(s) without annotations are skipped: {first_names(names)}'
        )
    return images


def _free_name(path: Path, taken: set[str], *, one_folder: bool) -> str:
    """Return a file name whose stem is not taken; lists of names allow no spaces in it."""
    stem = path.stem.lstrip('.') or 'image'  # hidden files are left out
    stem = '_'.join(stem.split()) if one_folder else stem
    free, count = stem, 1
    while free in taken:
        count += 1
        free = f'{stem}_{count}'
    taken.add(free)
    return free + path.suffix


def read_annotated_image(
    labelled: Labelled, format_name: str, findings: Findings
) -> AnnotatedImage | None:
    """Read the annotation of an image, and add its problems to the findings.

    Returns:
        `None` if the image or its annotation cannot be read.
    """
    path, facts = labelled.path, labelled.facts
    if facts.error:
        findings.problems.append(f'{path} {facts.error}; dropped')
        return None
    try:
        annotation = labelled.read(facts.seen_wh)
    except UserError as error:
        findings.problems.append(f'{error}; {path.name} is skipped')
        return None
    size_wh = annotation.stated_wh or facts.seen_wh
    if size_wh not in (facts.seen_wh, facts.stored_wh):
        findings.problems.append(
            f'{path} is {_by(facts.seen_wh)} pixels, its annotation gives {_by(size_wh)}; its '
            f'boxes are kept as they are'
        )
    elif size_wh != facts.seen_wh:
        findings.problems.append(
            f'{path} is rotated by its EXIF data, but its boxes are for the pixels as stored; '
            f'rotate image and boxes in a labelling tool, for readers that apply EXIF data'
        )
    sound, dropped, doubted = sort_objects(annotation.objects, labelled.classes, size_wh)
    where = labelled.annotation or path
    findings.problems += [f'{where}: {path.name}: {note}' for note in annotation.notes]
    for stored, why in dropped:
        findings.problems.append(f'{where}: {path.name}: box {stored} {why}; dropped')
    for stored, why in doubted:
        findings.problems.append(
            f'{where}: {path.name}: box {stored} {why}; the outline is dropped'
        )
    items = []
    for found, box in sound:
        if max(abs(new - old) for new, old in zip(box, found.xyxy, strict=True)) > ROUNDING:
            findings.problems.append(
                f'{where}: {path.name}: box {found.stored} extends beyond the image; clipped'
            )
        if (
            format_name == 'voc' and found.xyxy != found.stored
        ):  # including the last row and column, which mmdet cuts off
            x1, y1, x2, y2 = found.stored
            box = max(x1 - 1, 0), max(y1 - 1, 0), min(x2, size_wh[0]), min(y2, size_wh[1])
        outline = read_outline(found.outline, size_wh)
        if found.outline and any(found.outline) and not outline:
            findings.problems.append(f'{where}: {path.name}: an outline cannot be read; dropped')
        label = labelled.classes.index(found.name)
        items.append(Item(label, box, outline, found.is_ignored))
    return AnnotatedImage(path, path.name, size_wh, items)


def load_image(annotated: AnnotatedImage) -> np.ndarray:
    """Decode an image, rotated to match its boxes; `(H, W, 3)` uint8 BGR.

    Raises:
        UserError: If it cannot be decoded.
    """
    image = read_image(annotated.path, annotated.size_wh)
    if image is None:
        raise UserError(f'{annotated.path} cannot be decoded; replace it')
    return image


def _by(size_wh: Size) -> str:
    return f'{size_wh[0]}x{size_wh[1]}'
