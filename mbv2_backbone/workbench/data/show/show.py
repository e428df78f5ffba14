"""Contact sheets of a dataset: images with their labels, before and after augmentation."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ....common.messages import UserError
from ....common.notebook import Output
from ...configs.summary import Classes
from ..annotated_images import Findings, load_image, read_annotated_image
from ..find import find_dataset
from ..records import SORTED, Dataset
from .labelled import Colour, LabelledImage
from .sheet import Group, contact_sheet, picked

_GOLDEN = 0.618034  # hue step that never comes close to an earlier hue


def show(
    source: str,
    out: str,
    *,
    split: str = 'train',
    num: int = 16,
    seed: int = 0,
    overrides: Sequence[str] | None = None,
) -> tuple[int, int]:
    """Write a contact sheet of a folder or of a config's data as a PNG file.

    In a notebook it is shown, too.

    Args:
        source: Folder of a dataset, or a config file.
        out: The PNG file.
        split: Which split.
        num: How many images to pick.
        seed: The same seed gives the same file.
        overrides: `key=value` for a config.

    Returns:
        Height and width of the sheet.

    Raises:
        UserError: If there are no such images, an image or mask cannot be read, or the file cannot
            be written.
    """
    if not Path(source).exists():
        raise UserError(f'expected a dataset folder or a config file, found nothing at {source}')
    if Path(source).is_dir():
        if overrides:
            raise UserError(f'--cfg-options change a config, but {source} is a folder')
        sheet = folder_sheet(source, split=split, num=num, seed=seed)
    else:
        from .show_config import config_sheet

        sheet = config_sheet(source, split=split, num=num, seed=seed, overrides=overrides)
    content = cv2.imencode('.png', sheet)[1].tobytes()
    try:
        Path(out).write_bytes(content)
    except OSError as error:
        raise UserError(f'cannot write {out}: {error}') from error
    Output().show_picture(content)
    return sheet.shape[:2]


def folder_sheet(folder: str, *, split: str, num: int, seed: int) -> np.ndarray:
    """Draw images of a folder with their labels.

    Returns:
        `(H, W, 3)` uint8 BGR.
    """
    dataset = find_dataset(folder, task=None, keep_splits=True)
    splits = dataset.splits
    if split not in splits and len(splits) > 1:
        raise UserError(f'{folder} has no split {split!r}; choose --split {" or ".join(splits)}')
    split = split if split in splits else next(iter(splits))
    labelled = splits[split]
    findings = Findings()
    groups, maps = [], []
    for place in picked(len(labelled), num, seed):
        image = read_annotated_image(labelled[place], dataset.format, findings)
        if image is None:
            raise UserError(findings.problems[-1])
        label_map = _label_map(labelled[place].mask, dataset)
        maps.append(label_map)
        shown = LabelledImage(load_image(image), image.items, label_map, labelled[place].label)
        groups.append(Group(image.path.name, [shown]))
    classes = Classes(dataset.classes, distinct_colours(len(dataset.classes)))
    boxes, images = (Classes(), classes) if dataset.format == SORTED else (classes, Classes())
    return contact_sheet(
        groups,
        title=f'{folder}, {split}: {len(groups)} of {len(labelled)} images, seed {seed}',
        boxes=boxes,
        masks=_mask_classes(dataset, boxes, maps),
        images=images,
    )


def _label_map(path: Path | None, dataset: Dataset) -> np.ndarray | None:
    if path is None:
        return None
    from ....annotations.masks import MaskCoding, decode_mask, read_mask

    coding = MaskCoding(palette=dataset.mask_palette or None)
    return decode_mask(read_mask(str(path), str(path)), coding, str(path))


def _mask_classes(dataset: Dataset, boxes: Classes, maps: Sequence[np.ndarray | None]) -> Classes:
    """Return the classes of the masks; those that are also box classes have the same colours."""
    found = [labels[labels < 255] for labels in maps if labels is not None]
    size = 1 + max((int(labels.max()) for labels in found if labels.size), default=-1)
    names = [*dataset.mask_classes]
    names += [f'class {label}' for label in range(len(names), size)]
    colours = list(dataset.mask_palette) or distinct_colours(len(names))
    known = dict(zip(boxes.names, boxes.palette, strict=True)) | {'background': (0, 0, 0)}
    return Classes(
        names, [known.get(name, colour) for name, colour in zip(names, colours, strict=True)]
    )


def distinct_colours(count: int) -> list[Colour]:
    """Return bright colours, RGB; the first ones differ most."""
    colours = []
    for i in range(count):
        value = (0.95, 0.75)[i // 7 % 2]
        rgb = colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.85, value)
        colours.append(tuple(round(255 * part) for part in rgb))
    return colours
